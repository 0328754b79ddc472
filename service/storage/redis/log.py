"""The item log of several replicas, in Redis: a stream that all follow, and beside it each changed item's state."""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import StorageError
from service.storage.changes import Array, Change, Follower, ItemState
from service.storage.item_log import Followers
from service.storage.redis import scripts
from service.storage.redis.catalogue import RedisKeys, read_head, read_states, to_arguments
from service.storage.redis.connections import fail, say
from service.storage.redis.follower import RedisFollower
from service.storage.redis.writer import Argument, RedisWriter

_VECTORS_AT_ONCE = 500


class RedisItemLog:
    """See `ItemLog`. The clients are the caller's, who closes them.

    Args:
        redis: reads and writes.
        following: reads the log; see `RedisFollower`.
        writer: writes with `redis`.
        prefix: begins every key; replicas of one catalogue share it.
        max_entries: about as many changes are kept in the log.
        retry_seconds: the longest pause between two attempts to reach Redis.
    """

    def __init__(
        self,
        redis: Redis,
        following: Redis,
        writer: RedisWriter,
        *,
        prefix: str,
        max_entries: int,
        retry_seconds: float,
    ) -> None:
        self._redis = redis
        self._writer = writer
        self._max_entries = max_entries
        self._keys = RedisKeys(prefix)
        self._followers = Followers()
        self._follower = RedisFollower(following, self._keys, self._followers, retry_seconds=retry_seconds)

    async def append(self, changes: Sequence[Change]) -> None:
        """See `ItemLog`."""
        # Where its own changes would not come back, nothing is written.
        await self._follower.position()
        arguments: list[Argument] = [secrets.token_hex(8), self._max_entries]
        for change in changes:
            arguments += to_arguments(change)
        answer = await self._writer.run(scripts.APPEND, self._keys.of_changes(), arguments)
        if answer is not None:
            epoch, sequence = cast("tuple[bytes, int]", answer)
            await self._follower.reach(epoch, sequence)

    async def attach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        bundle_id = follower.bundle_id
        # Where Redis refuses, old bundles' vectors stay a while longer.
        with contextlib.suppress(StorageError):
            await self._writer.run(
                scripts.USE_BUNDLE, [self._keys.meta, self._keys.bundles, self._keys.vectors], [bundle_id]
            )
        await self._followers.attach(follower, lambda: self._read(bundle_id))

    async def _read(self, bundle_id: str) -> list[ItemState]:
        """The states up to where the log was told before they were read; returns when all that was there is told."""
        try:
            while True:
                restorations, told = self._follower.restorations, await self._follower.position()
                head = await read_head(self._redis, self._keys)
                states = await read_states(self._redis, self._keys, bundle_id, told.sequence)
                if head.sequence > told.sequence:
                    await self._follower.reach(head.epoch, head.sequence)
                if restorations == self._follower.restorations:
                    return states
        except (RedisError, OSError) as error:
            fail(error, "the catalogue's changes cannot be read")

    def detach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        self._followers.detach(follower)

    async def keep_vectors(self, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """See `ItemLog`."""
        entries = list(vectors.items())
        keys = [self._keys.meta, self._keys.attributes, self._keys.bundles, self._keys.vectors]
        for start in range(0, len(entries), _VECTORS_AT_ONCE):
            arguments: list[Argument] = [bundle_id]
            for item_id, (attributes_json, vector) in entries[start : start + _VECTORS_AT_ONCE]:
                arguments += [item_id, attributes_json, vector.astype("<f4").tobytes()]
            await self._writer.run(scripts.KEEP_VECTORS, keys, arguments)

    async def fault(self) -> str | None:
        """See `ItemLog`."""
        if self._follower.fault is not None:
            return self._follower.fault
        try:
            # A write, since a Redis that is full or a replica still answers reads.
            await self._redis.set(self._keys.probe, 1, ex=60)
        except (RedisError, OSError) as error:
            return say(error)
        return await self._writer.fault()

    async def close(self) -> None:
        """See `ItemLog`."""
        await self._follower.close()
