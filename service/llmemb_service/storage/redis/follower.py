"""The task that follows the log in Redis and passes the changes of all replicas, in order, to the local followers."""

import asyncio
import logging
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Change, ItemState
from llmemb_service.storage.item_log import Followers
from llmemb_service.storage.redis.catalogue import (
    Position,
    RedisKeys,
    check_complete,
    read_entries,
    read_head,
    read_states,
)
from llmemb_service.storage.redis.connections import describe_error

BLOCK_SECONDS = 1.0
"""How long one read waits for a change. After it the task checks that the log is still the same log."""
APPLY_SECONDS = 5.0
"""How long it may take until a written change is applied in this process."""
_FIRST_RETRY_SECONDS = 0.05
_ENTRIES_AT_ONCE = 128

logger = logging.getLogger(__name__)


class RedisFollower:
    """Follows the log for as long as the process runs, beginning at the end that the log has at the start.

    Args:
        redis: used by this task only, with a timeout longer than `BLOCK_SECONDS`.
        keys: of the catalogue.
        followers: get the changes.
        retry_seconds: maximum pause between two attempts to connect to Redis.
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
        """How often the followers were restored because the log did not continue at their position."""
        self._closing = False
        self._task = asyncio.create_task(self._run())
        # If the task dies, nothing may wait for it forever.
        self._task.add_done_callback(lambda _: self._tried.set())

    @property
    def fault(self) -> str | None:
        """Why the log is not followed, None if it is followed."""
        return "the catalogue's log is no longer followed" if self._task.done() else self._fault

    async def position(self) -> Position:
        """Return the position up to which changes are applied, after the first attempt to connect to Redis.

        Raises:
            StorageError: the log is not followed.
        """
        await self._tried.wait()
        if self._position is None or self.fault is not None:
            raise StorageError(f"{self.fault}; nothing was done")
        return self._position

    async def wait_until_applied(self, epoch: bytes, sequence: int) -> None:
        """Wait until the followers have applied the change with this number.

        Raises:
            StorageError: it takes longer than `APPLY_SECONDS`.
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
        """Stop following the log."""
        self._closing = True
        while not self._task.done():
            # Repeatedly: a connection that is just timing out can swallow the cancellation.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    async def _run(self) -> None:
        while not self._closing:
            try:
                await self._follow()
            except (RedisError, OSError, StorageError) as error:
                fault = str(error) if isinstance(error, StorageError) else describe_error(error)
                if self._fault is None:
                    logger.warning("%s; the catalogue's changes are not followed", fault)
                self._fault = fault
                self._tried.set()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, self._retry_seconds)

    async def _follow(self) -> None:
        """Apply changes as they arrive, until Redis fails."""
        while True:
            await self._catch_up()
            self._clear_fault()
            while entries := await self._read(block_milliseconds=int(BLOCK_SECONDS * 1000)):
                if not self._apply(entries):
                    break

    def _clear_fault(self) -> None:
        if self._fault is not None and self._tried.is_set():
            logger.info("Redis answers again; the catalogue's changes are followed")
        self._fault = None
        self._pause = _FIRST_RETRY_SECONDS
        self._tried.set()

    async def _catch_up(self) -> None:
        """Apply all changes in the log; if the log does not continue at our position, restore the followers."""
        head = await read_head(self._redis, self._keys)
        if self._position is None or not self._position.may_precede(head):
            await self._restore()
            return
        while self._position.sequence < head.sequence:
            entries = await self._read(block_milliseconds=None)
            if not entries or not self._apply(entries):
                await self._restore()
                return

    async def _read(self, *, block_milliseconds: int | None) -> Sequence[tuple[Position, Change]]:
        assert self._position is not None
        return await read_entries(
            self._redis, self._keys, self._position, count=_ENTRIES_AT_ONCE, block_milliseconds=block_milliseconds
        )

    def _apply(self, entries: Sequence[tuple[Position, Change]]) -> bool:
        """Apply changes up to the first gap in their numbers; return false if there is a gap."""
        assert self._position is not None
        position, changes = self._position, []
        for next_position, change in entries:
            if not next_position.follows(position):
                break
            position = next_position
            changes.append(change)
        self._followers.notify(changes)
        self._move(position)
        return len(changes) == len(entries)

    async def _restore(self) -> None:
        """Restore the followers from the stored states, and continue with the log from its present end."""
        if self._position is not None:
            logger.warning(
                "Redis's log does not continue at this replica's position; reading all of the catalogue's changes"
            )
        await check_complete(self._redis, self._keys)
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
    """A caller that waits until a change is applied."""

    def __init__(self, epoch: bytes, sequence: int) -> None:
        self._epoch = epoch
        self._sequence = sequence
        self.over = asyncio.Event()

    def is_over(self, position: Position) -> bool:
        """Whether the change is at or before a position."""
        return position.epoch == self._epoch and position.sequence >= self._sequence
