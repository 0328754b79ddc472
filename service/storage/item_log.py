"""The item log: every change of the catalogue, durable before it is acknowledged, and told to who follows it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from service.storage.changes import Array, Change, Follower, ItemState


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


class Followers:
    """Tells followers of changes; for the event loop's thread alone."""

    def __init__(self) -> None:
        self._attached: list[Follower] = []
        self._joining: list[list[Change]] = []

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell all who have joined, and keep the changes for those who are about to."""
        if not changes:
            return
        for missed in self._joining:
            missed.extend(changes)
        for follower in tuple(self._attached):
            follower.apply(changes)

    async def attach(self, follower: Follower, read: Callable[[], Awaitable[Sequence[ItemState]]]) -> None:
        """Restore a follower to what `read` gives, and let it catch up with what was told meanwhile.

        Some of that may be in what was read already: taking it in again changes nothing.
        """
        missed: list[Change] = []
        self._joining.append(missed)
        try:
            states = await read()
        finally:
            # By identity: two empty lists are equal.
            self._joining = [other for other in self._joining if other is not missed]
        follower.restore(states)
        if missed:
            follower.apply(missed)
        self._attached.append(follower)

    def detach(self, follower: Follower) -> None:
        """Tell a follower no more."""
        self._attached = [other for other in self._attached if other is not follower]

    def bundle_ids(self) -> set[str]:
        """The bundles whose vectors the followers want."""
        return {follower.bundle_id for follower in self._attached}

    def restore(self, states: dict[str, Sequence[ItemState]]) -> None:
        """Restore all to the states for their bundles; what those who join have missed is of the past now."""
        for missed in self._joining:
            missed.clear()
        for follower in tuple(self._attached):
            follower.restore(states[follower.bundle_id])
