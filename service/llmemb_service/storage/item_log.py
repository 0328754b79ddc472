"""The item log: every change of the catalogue, durable before it is acknowledged, and applied by its followers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from llmemb_service.storage.changes import Array, Change, Follower, ItemState


class ItemLog(Protocol):
    """The durable changes of the catalogue; see the module."""

    async def append(self, changes: Sequence[Change]) -> None:
        """Write changes atomically; when this returns they are durable, and every local follower has applied them.

        Raises:
            StorageError: none of them was written, or it is unknown whether they were.
        """
        ...

    async def attach(self, follower: Follower) -> None:
        """Restore a follower to the current state, and notify it of every later change.

        Raises:
            StorageError: the log cannot be read.
        """
        ...

    def detach(self, follower: Follower) -> None:
        """Stop notifying a follower."""
        ...

    async def keep_vectors(self, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """Store a bundle's vectors of items that another bundle embedded: id -> attributes' JSON and vector `(D,)`.

        A vector is skipped if the item's attributes have changed.

        Raises:
            StorageError: the vectors were not written.
        """
        ...

    async def fault(self) -> str | None:
        """Return why changes cannot be written or followed, None if they can."""
        ...

    async def close(self) -> None:
        """Finish queued writes and release the log's resources."""
        ...


class Followers:
    """Notifies followers of changes; use it only in the event loop's thread."""

    def __init__(self) -> None:
        self._attached: list[Follower] = []
        self._joining: list[list[Change]] = []

    def notify(self, changes: Sequence[Change]) -> None:
        """Pass changes to all attached followers, and buffer them for those that are being attached."""
        if not changes:
            return
        for missed in self._joining:
            missed.extend(changes)
        for follower in tuple(self._attached):
            follower.apply(changes)

    async def attach(self, follower: Follower, read: Callable[[], Awaitable[Sequence[ItemState]]]) -> None:
        """Restore a follower to the states that `read` returns, and apply the changes that arrived meanwhile.

        Some of these may already be part of the states: applying a change twice has no effect.
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
        """Stop notifying a follower."""
        self._attached = [other for other in self._attached if other is not follower]

    def bundle_ids(self) -> set[str]:
        """Return the bundles whose vectors the followers use."""
        return {follower.bundle_id for follower in self._attached}

    def restore(self, states: dict[str, Sequence[ItemState]]) -> None:
        """Restore all followers to the states for their bundles.

        The states include the changes buffered for followers that are being attached, so the buffers are cleared.
        """
        for missed in self._joining:
            missed.clear()
        for follower in tuple(self._attached):
            follower.restore(states[follower.bundle_id])
