"""Where the base of a catalogue is searched, by the settings."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmemb.bundle import Bundle
from llmemb.errors import ConfigError
from service.settings import Settings

if TYPE_CHECKING:
    from service.catalogue.milvus.segment import MilvusStore


def open_vector_store(settings: Settings, bundle: Bundle) -> "MilvusStore | None":
    """Return the store whose `base` is the bundle's items in Milvus; None where FAISS searches them in this process.

    The first time it fills Milvus with the bundle's items, so it is called in a thread. The caller closes it, in a
    thread too.

    Raises:
        ConfigError: Milvus is asked for and cannot be used.
        StorageError: Milvus is away.
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
    # Not everybody has it installed.
    from service.catalogue.milvus.segment import MilvusStore

    return MilvusStore(bundle, uri, "" if settings.milvus_token is None else settings.milvus_token.get_secret_value())
