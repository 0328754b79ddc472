"""Sessions: histories of item ids, kept for a while. SQLite keeps them for one process, Redis for replicas."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Session:
    """What is kept of a session: ids, the oldest first, and the seconds until it is forgotten."""

    history: tuple[str, ...]
    expires_in_seconds: int


class SessionStore(Protocol):
    """Session ids -> histories, each kept to the most recent `max_items` for `ttl_seconds` after its last event."""

    async def append(self, session_id: str, item_ids: Sequence[str]) -> Session:
        """Append events, durable when this returns, and return the session with them.

        Raises:
            StorageError: they were not written, or it is not known whether they were.
        """
        ...

    async def read(self, session_id: str) -> Session | None:
        """Return a session, None where there is none.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    async def remove(self, session_id: str) -> bool:
        """Forget a session; false where there was none.

        Raises:
            StorageError: it cannot be removed.
        """
        ...

    async def fault(self) -> str | None:
        """Say why it does not work now, None where it does."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...
