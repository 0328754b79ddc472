"""A connection to Milvus that survives outages: calls fail fast while it is down, and later calls reconnect."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import ConnectionConfigException, ErrorCode

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""Timeout of a search; pymilvus retries an unavailable server until then."""
PROBE_TIMEOUT_SECONDS = 0.5
"""Timeout of the first call to a server that was unavailable."""
BACKOFF_SECONDS = 2.0
"""After a failure, calls fail at once for this long."""
REFILL_RETRY_SECONDS = 5
"""`Retry-After` while a collection is being filled."""

Kind = TypeVar("Kind")
logger = logging.getLogger(__name__)
# pymilvus logs each failed call with its content, and Milvus Lite a traceback; this module logs an outage once.
for name in ("pymilvus.decorators", "pymilvus.client.connection_manager", "milvus_lite.server_manager"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


class CollectionGoneError(StorageError):
    """Milvus answers but does not have the collection."""


class MilvusConnection:
    """Calls Milvus; use it from any thread except the event loop's.

    Args:
        uri: of a server, or the path of a Milvus Lite file, which must end with `.db`.
        token: the server's credentials; empty if it needs none.
    """

    def __init__(self, uri: str, token: str) -> None:
        self._uri = uri
        self._token = token
        self._client: MilvusClient | None = None
        self.num_reconnects = 0
        """How often the connection was restored after an outage."""
        self._is_unavailable = False
        self._backoff_until = 0.0

    def call(self, request: Callable[[MilvusClient], Kind]) -> Kind:
        """Return the result of `request`.

        Raises:
            CollectionGoneError: Milvus does not have the collection.
            ConfigError: the URI cannot be used, or the file of Milvus Lite cannot be opened.
            StorageError: Milvus is unavailable or refuses the request.
        """
        if time.monotonic() < self._backoff_until:
            raise _unavailable()
        try:
            return request(self._connected_client())
        except ConnectionConfigException as error:
            raise ConfigError(f"LLMEMB_MILVUS_URI: {_reason(self._uri)}") from error
        except (MilvusException, grpc.RpcError) as error:
            if isinstance(error, MilvusException) and error.code == ErrorCode.COLLECTION_NOT_FOUND:
                raise CollectionGoneError("Milvus does not have the collection", REFILL_RETRY_SECONDS) from error
            self._note_failure(error)
            raise _unavailable() from error

    def _connected_client(self) -> MilvusClient:
        if self._client is None:
            self._client = MilvusClient(self._uri, token=self._token, timeout=CONNECT_SECONDS)
        elif self._is_unavailable:
            self._client.get_server_version(timeout=PROBE_TIMEOUT_SECONDS)
            logger.info("Milvus answers again")
            self._is_unavailable = False
            self.num_reconnects += 1
        return self._client

    def _note_failure(self, error: Exception) -> None:
        if not self._is_unavailable:
            logger.warning("Milvus does not answer: %s", error)
        self._is_unavailable = True
        self._backoff_until = time.monotonic() + BACKOFF_SECONDS

    def clear_half_created(self, name: str) -> None:
        """Delete what a killed process has left of a collection that it was creating; Milvus Lite does not.

        Call it while connected, and only if Milvus does not have the collection.
        """
        # This process has locked the file, so no other process is creating the collection now.
        if "://" not in self._uri:
            shutil.rmtree(Path(self._uri, "collections", name), ignore_errors=True)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()


def _reason(uri: str) -> str:
    """Return why Milvus cannot be used at a URI; for the file of Milvus Lite, try to open it once more."""
    if "://" in uri:
        return "not a URI of Milvus, such as http://host:19530"
    # Milvus Lite is an optional dependency, and a server needs none of it.
    from milvus_lite import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError

    if not Path(uri).parent.is_dir():
        return f"the folder of {uri} does not exist"
    try:
        MilvusLite(uri).close()
    except DataDirLockedError:
        return f"another process uses {uri}; give each process its own file, or use a Milvus server"
    except FileExistsError:
        return f"{uri} is a file, as Milvus Lite before version 3 wrote it; choose another path, which is filled anew"
    except OSError as error:
        return f"{uri} cannot be opened: {error.strerror}"
    return f"{uri} could not be opened; try again"


def _unavailable() -> StorageError:
    return StorageError("Milvus does not answer", int(BACKOFF_SECONDS))
