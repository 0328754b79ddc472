"""The item log: every change of the catalogue, durable before it is acknowledged, and told to who follows it.

Two of them keep the same promises: `sqlite_log.py` for one process, `redis_log.py` for replicas that share a catalogue.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.catalogue.changes import Array, Change, Follower


class ItemLog(Protocol):
    """See the module."""

    async def append(self, changes: Sequence[Change]) -> None:
        """Write changes, all of them or none; when this returns they are durable, and every follower has them.

        Raises:
            StorageError: none of them was written, or it is not known whether they were.
        """
        ...

    async def attach(self, follower: Follower) -> None:
        """Restore a follower to the present state, and tell it of every change from then on.

        Raises:
            StorageError: the log cannot be read.
        """
        ...

    def detach(self, follower: Follower) -> None:
        """Tell a follower no more."""
        ...

    async def keep_vectors(self, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """Keep vectors of items that another bundle embedded: id -> the attributes' JSON and the vector `(D,)`.

        A vector whose attributes are no longer the item's is not kept.

        Raises:
            StorageError: they were not written.
        """
        ...

    async def fault(self) -> str | None:
        """Say why changes cannot be written or followed now, None where they can."""
        ...

    async def close(self) -> None:
        """Finish what was begun and give back what it holds."""
        ...
