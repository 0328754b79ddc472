"""The task that follows the log in Redis: it tells this process's followers of every replica's changes, in order."""

import asyncio
import logging
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import StorageError
from service.storage.changes import Change, ItemState
from service.storage.item_log import Followers
from service.storage.redis.catalogue import Position, RedisKeys, read_entries, read_head, read_states
from service.storage.redis.connections import say

BLOCK_SECONDS = 1.0
"""How long one read waits for a change. Then it is checked that the log is still the one that was followed."""
APPLY_SECONDS = 5.0
"""How long a change that was written may take until it is told here."""
_FIRST_RETRY_SECONDS = 0.05
_ENTRIES_AT_ONCE = 128

logger = logging.getLogger(__name__)


class RedisFollower:
    """Follows the log from its end at the start, for as long as the process runs.

    Args:
        redis: a client of its own, whose answers may take `BLOCK_SECONDS` and some more.
        keys: of the catalogue.
        followers: are told.
        retry_seconds: the longest pause between two attempts to reach Redis.
    """

    def __init__(self, redis: Redis, keys: RedisKeys, followers: Followers, *, retry_seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self._followers = followers
        self._retry_seconds = retry_seconds
        self._pause = _FIRST_RETRY_SECONDS
        self._position: Position | None = None
        self._fault: str | None = "Redis was not reached yet"
        self._tried = asyncio.Event()
        self._waiting: set[_Waiting] = set()
        self.restorations = 0
        """How often the followers were restored because the log did not go on where they were."""
        self._closing = False
        self._task = asyncio.create_task(self._run())
        # A task that has died must keep nobody waiting.
        self._task.add_done_callback(lambda _: self._tried.set())

    @property
    def fault(self) -> str | None:
        """Why changes are not followed now, None where they are."""
        return "the catalogue's log is no longer followed" if self._task.done() else self._fault

    async def position(self) -> Position:
        """Return the place up to which followers were told, once Redis was tried for the first time.

        Raises:
            StorageError: the log is not followed now.
        """
        await self._tried.wait()
        if self._position is None or self.fault is not None:
            raise StorageError(f"{self.fault}; nothing was done")
        return self._position

    async def reach(self, epoch: bytes, sequence: int) -> None:
        """Wait until followers were told of the change with this number.

        Raises:
            StorageError: it takes too long.
        """
        waiting = _Waiting(epoch, sequence)
        if self._position is not None and waiting.is_over(self._position):
            return
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(APPLY_SECONDS):
                await waiting.over.wait()
        except TimeoutError as error:
            raise StorageError("the change did not come back from Redis; it may not have been written") from error
        finally:
            self._waiting.discard(waiting)

    async def close(self) -> None:
        """Follow no more."""
        self._closing = True
        while not self._task.done():
            # A connection that is just timing out can take the cancelling for its own.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    async def _run(self) -> None:
        while not self._closing:
            try:
                await self._follow()
            except (RedisError, OSError, StorageError) as error:
                fault = str(error) if isinstance(error, StorageError) else say(error)
                if self._fault is None:
                    logger.warning("%s; the catalogue's changes wait", fault)
                self._fault = fault
                self._tried.set()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, self._retry_seconds)

    async def _follow(self) -> None:
        """Tell of what comes, until Redis fails."""
        while True:
            await self._catch_up()
            self._now_following()
            while entries := await self._read(block_milliseconds=int(BLOCK_SECONDS * 1000)):
                if not self._take(entries):
                    break

    def _now_following(self) -> None:
        if self._fault is not None and self._tried.is_set():
            logger.info("Redis answers again; the catalogue's changes are followed")
        self._fault = None
        self._pause = _FIRST_RETRY_SECONDS
        self._tried.set()

    async def _catch_up(self) -> None:
        """Tell of all that the log holds now; where it does not go on from here, restore the followers."""
        head = await read_head(self._redis, self._keys)
        if self._position is None or not self._position.may_precede(head):
            await self._restore()
            return
        while self._position.sequence < head.sequence:
            entries = await self._read(block_milliseconds=None)
            if not entries or not self._take(entries):
                await self._restore()
                return

    async def _read(self, *, block_milliseconds: int | None) -> Sequence[tuple[Position, Change]]:
        assert self._position is not None
        return await read_entries(
            self._redis, self._keys, self._position, count=_ENTRIES_AT_ONCE, block_milliseconds=block_milliseconds
        )

    def _take(self, entries: Sequence[tuple[Position, Change]]) -> bool:
        """Tell of changes; false where one between them and what was told before is missing."""
        assert self._position is not None
        position, changes = self._position, []
        for after, change in entries:
            if not after.follows(position):
                break
            position = after
            changes.append(change)
        self._followers.tell(changes)
        self._move(position)
        return len(changes) == len(entries)

    async def _restore(self) -> None:
        """Read the whole state, from a place on from which the log will be told."""
        if self._position is not None:
            logger.warning("Redis's log does not go on where this replica was; reading all of the catalogue's changes")
        position = await read_head(self._redis, self._keys)
        states: dict[str, Sequence[ItemState]] = {}
        # Another follower may join while the states are read.
        while missing := self._followers.bundle_ids() - states.keys():
            for bundle_id in missing:
                states[bundle_id] = await read_states(self._redis, self._keys, bundle_id, position.sequence)
        self.restorations += 1
        self._followers.restore(states)
        self._move(position)

    def _move(self, position: Position) -> None:
        self._position = position
        for waiting in self._waiting:
            if waiting.is_over(position):
                waiting.over.set()


class _Waiting:
    """Somebody waits until a change was told."""

    def __init__(self, epoch: bytes, sequence: int) -> None:
        self._epoch = epoch
        self._sequence = sequence
        self.over = asyncio.Event()

    def is_over(self, position: Position) -> bool:
        """Whether the change was told at a place, or before it."""
        return position.epoch == self._epoch and position.sequence >= self._sequence
