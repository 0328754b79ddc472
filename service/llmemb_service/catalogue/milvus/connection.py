"""A connection to Milvus that survives outages: calls fail fast while it is down, and later calls reconnect."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import grpc
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import ErrorCode

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
# pymilvus logs each failed call with its content; this module logs an outage once.
for name in ("pymilvus.decorators", "pymilvus.client.connection_manager"):
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
            StorageError: Milvus is unavailable or refuses the request.
        """
        if time.monotonic() < self._backoff_until:
            raise _unavailable()
        try:
            return request(self._connected_client())
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

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()


def _unavailable() -> StorageError:
    return StorageError("Milvus does not answer", int(BACKOFF_SECONDS))
