"""Sessions of several replicas, in Redis: one list of ids per session, with a TTL."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmemb_service.storage.redis.connections import describe_error, raise_storage_error
from llmemb_service.storage.redis.writer import RedisWriter, Script
from llmemb_service.storage.session_store import Session

_APPEND = Script("""
redis.call('RPUSH', KEYS[1], unpack(ARGV, 3))
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('LRANGE', KEYS[1], 0, -1)
""")
_REMOVE = Script("return redis.call('DEL', KEYS[1])")


class RedisSessions:
    """See `SessionStore`. The caller owns the client and closes it.

    Args:
        redis: reads sessions, with a short timeout.
        writer: writes sessions.
        prefix: of every key.
        max_items: maximum number of events per session.
        ttl_seconds: how long a session is kept after its last event.
    """

    def __init__(self, redis: Redis, writer: RedisWriter, *, prefix: str, max_items: int, ttl_seconds: int) -> None:
        self._redis = redis
        self._writer = writer
        self._prefix = prefix
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds

    async def append(self, session_id: str, item_ids: Sequence[str]) -> Session:
        """See `SessionStore`."""
        recent = item_ids[-self._max_items :]
        answer = await self._writer.run(_APPEND, [self._key(session_id)], [self._max_items, self._ttl_seconds, *recent])
        return Session(_history(cast("list[bytes]", answer)), self._ttl_seconds)

    async def read(self, session_id: str) -> Session | None:
        """See `SessionStore`."""
        key = self._key(session_id)
        try:
            # Not a transaction: a Redis that is out of memory refuses transactions, even if they only read.
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.lrange(key, 0, -1)
                pipeline.ttl(key)
                history, seconds = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise_storage_error(error, "the session cannot be read")
        return Session(_history(history), max(seconds, 0)) if history else None

    async def remove(self, session_id: str) -> bool:
        """See `SessionStore`."""
        return bool(await self._writer.run(_REMOVE, [self._key(session_id)], []))

    async def fault(self) -> str | None:
        """See `SessionStore`."""
        try:
            await self._redis.set(f"{self._prefix}:session-probe", 1, ex=60)
        except (RedisError, OSError) as error:
            return describe_error(error)
        return await self._writer.fault()

    async def close(self) -> None:
        """See `SessionStore`."""

    def _key(self, session_id: str) -> str:
        return key_of_session(self._prefix, session_id)


def key_of_session(prefix: str, session_id: str) -> str:
    """Return the key of a session, without a hash tag: sessions are spread over the cluster."""
    return f"{prefix}:session:{session_id}"


def _history(answer: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(item_id.decode() for item_id in answer)
