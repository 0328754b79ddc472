"""Sessions: histories of item ids with a time to live, in SQLite for one process or in Redis for several replicas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Session:
    """The stored ids of a session, oldest first, and the seconds until it expires."""

    history: tuple[str, ...]
    expires_in_seconds: int


class SessionStore(Protocol):
    """Session ids -> histories: the most recent `max_items` of each, for `ttl_seconds` after its last event."""

    async def append(self, session_id: str, item_ids: Sequence[str]) -> Session:
        """Append events, durable when this returns, and return the updated session.

        Raises:
            StorageError: the events were not written, or it is unknown whether they were.
        """
        ...

    async def read(self, session_id: str) -> Session | None:
        """Return a session, or None if there is none.

        Raises:
            StorageError: the session cannot be read.
        """
        ...

    async def remove(self, session_id: str) -> bool:
        """Delete a session; return false if there was none.

        Raises:
            StorageError: the session cannot be deleted.
        """
        ...

    async def fault(self) -> str | None:
        """Return why the store does not work, None if it works."""
        ...

    async def close(self) -> None:
        """Release the store's resources."""
        ...
