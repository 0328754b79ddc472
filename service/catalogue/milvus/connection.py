"""A connection to Milvus, which may be away: then a call fails at once, and what comes later finds it again."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import grpc
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import ErrorCode

from service.errors import StorageError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""How long a search may take; pymilvus calls a server that is away again and again until then."""
PROBE_SECONDS = 0.5
"""How long a server that was away is waited for."""
LEFT_ALONE_SECONDS = 2.0
"""How long a server that was away is not asked: whoever comes meanwhile is told at once."""
FILLING_SECONDS = 5
"""When to come again where a collection has to be filled."""

Kind = TypeVar("Kind")
logger = logging.getLogger(__name__)
# Each failure is told here, once and without the calls' content.
for name in ("pymilvus.decorators", "pymilvus.client.connection_manager"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


class CollectionGoneError(StorageError):
    """Milvus answers, and does not have the collection."""


class MilvusConnection:
    """Calls Milvus, from any thread but the event loop's.

    Args:
        uri: of a server, or the path of a Milvus Lite file, which must end with `.db`.
        token: what the server asks for; empty where it asks for nothing.
    """

    def __init__(self, uri: str, token: str) -> None:
        self._uri = uri
        self._token = token
        self._client: MilvusClient | None = None
        self.times_lost = 0
        """How often Milvus was away and came back."""
        self._is_away = False
        self._left_alone_until = 0.0

    def call(self, ask: Callable[[MilvusClient], Kind]) -> Kind:
        """Return what `ask` returns.

        Raises:
            CollectionGoneError: Milvus does not have the collection that was asked for.
            StorageError: Milvus is away or refuses.
        """
        if time.monotonic() < self._left_alone_until:
            raise _away()
        try:
            return ask(self._present_client())
        except (MilvusException, grpc.RpcError) as error:
            if isinstance(error, MilvusException) and error.code == ErrorCode.COLLECTION_NOT_FOUND:
                raise CollectionGoneError("Milvus does not have the collection", FILLING_SECONDS) from error
            self._note_failure(error)
            raise _away() from error

    def _present_client(self) -> MilvusClient:
        if self._client is None:
            self._client = MilvusClient(self._uri, token=self._token, timeout=CONNECT_SECONDS)
        elif self._is_away:
            self._client.get_server_version(timeout=PROBE_SECONDS)
            logger.info("Milvus answers again")
            self._is_away = False
            self.times_lost += 1
        return self._client

    def _note_failure(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("Milvus does not answer: %s", error)
        self._is_away = True
        self._left_alone_until = time.monotonic() + LEFT_ALONE_SECONDS

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.close()


def _away() -> StorageError:
    return StorageError("Milvus does not answer", int(LEFT_ALONE_SECONDS))
