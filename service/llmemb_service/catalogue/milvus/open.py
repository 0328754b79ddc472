"""Open the vector store that the settings choose."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmemb.bundle import Bundle
from llmemb.errors import ConfigError
from llmemb_service.settings import Settings

if TYPE_CHECKING:
    from llmemb_service.catalogue.milvus.segment import MilvusStore


def open_vector_store(settings: Settings, bundle: Bundle) -> "MilvusStore | None":
    """Return the Milvus store whose `base` has the bundle's items; None if FAISS searches them in this process.

    The first call for a bundle fills Milvus with its items, so call it in a thread. The caller must close the store,
    also in a thread.

    Raises:
        ConfigError: the settings choose Milvus, and it cannot be used.
        StorageError: Milvus is unavailable.
    """
    if settings.vector_store == "faiss":
        return None
    uri = settings.milvus_uri
    if uri is None:
        raise ConfigError("LLMEMB_VECTOR_STORE is milvus, but LLMEMB_MILVUS_URI is not set")
    is_file = "://" not in uri
    if is_file and not uri.endswith(".db"):
        raise ConfigError("LLMEMB_MILVUS_URI: a file of Milvus Lite must end with .db")
    missing = [name for name in ("pymilvus", *(("milvus_lite",) if is_file else ())) if find_spec(name) is None]
    if missing:
        raise ConfigError(f"LLMEMB_VECTOR_STORE is milvus, but {' and '.join(missing)} cannot be imported")
    # pymilvus is an optional dependency.
    from llmemb_service.catalogue.milvus.segment import MilvusStore

    return MilvusStore(bundle, uri, "" if settings.milvus_token is None else settings.milvus_token.get_secret_value())
