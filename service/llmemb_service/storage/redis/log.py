"""The item log of several replicas, in Redis: a stream that all replicas follow, and the state of each changed item."""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Array, Change, Follower, ItemState
from llmemb_service.storage.item_log import Followers
from llmemb_service.storage.redis import scripts
from llmemb_service.storage.redis.catalogue import RedisKeys, read_head, read_states, to_arguments
from llmemb_service.storage.redis.connections import describe_error, raise_storage_error
from llmemb_service.storage.redis.follower import RedisFollower
from llmemb_service.storage.redis.writer import Argument, RedisWriter

_VECTORS_AT_ONCE = 500


class RedisItemLog:
    """See `ItemLog`. The caller owns the clients and closes them.

    Args:
        redis: reads and writes.
        following: reads the log; see `RedisFollower`.
        writer: writes with `redis`.
        prefix: of every key; replicas of one catalogue share it.
        max_entries: approximate maximum length of the log.
        retry_seconds: maximum pause between two attempts to connect to Redis.
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
        # First check that this replica follows the log; otherwise it would not see its own changes.
        await self._follower.position()
        arguments: list[Argument] = [secrets.token_hex(8), self._max_entries]
        for change in changes:
            arguments += to_arguments(change)
        answer = await self._writer.run(scripts.APPEND, self._keys.of_changes(), arguments)
        if answer is not None:
            epoch, sequence = cast("tuple[bytes, int]", answer)
            await self._follower.wait_until_applied(epoch, sequence)

    async def attach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        bundle_id = follower.bundle_id
        # If Redis refuses, the vectors of unused bundles are only deleted later.
        with contextlib.suppress(StorageError):
            await self._writer.run(
                scripts.USE_BUNDLE, [self._keys.meta, self._keys.bundles, self._keys.vectors], [bundle_id]
            )
        await self._followers.attach(follower, lambda: self._read(bundle_id))

    async def _read(self, bundle_id: str) -> list[ItemState]:
        """Read the states of the items changed up to the applied position; wait until later changes are applied too.

        Starts again if the followers were restored meanwhile.
        """
        try:
            while True:
                restorations, applied = self._follower.restorations, await self._follower.position()
                head = await read_head(self._redis, self._keys)
                states = await read_states(self._redis, self._keys, bundle_id, applied.sequence)
                if head.sequence > applied.sequence:
                    await self._follower.wait_until_applied(head.epoch, head.sequence)
                if restorations == self._follower.restorations:
                    return states
        except (RedisError, OSError) as error:
            raise_storage_error(error, "the catalogue's changes cannot be read")

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
            # A write, since a full Redis and a read-only replica still answer reads.
            await self._redis.set(self._keys.probe, 1, ex=60)
        except (RedisError, OSError) as error:
            return describe_error(error)
        return await self._writer.fault()

    async def close(self) -> None:
        """See `ItemLog`."""
        await self._follower.close()
