"""Who follows an item log in this process, and how another one joins without missing a change."""

from collections.abc import Awaitable, Callable, Sequence

from service.catalogue.changes import Change, Follower, ItemState


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
