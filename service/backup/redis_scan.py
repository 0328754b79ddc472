"""Keys of Redis by their beginning, some at a time, so that nobody waits for it."""

from collections.abc import AsyncIterator
from typing import cast

from redis.asyncio import Redis

from service.storage.redis_sessions import key_of_session

_KEYS_AT_ONCE = 500
"""Keys that Redis looks at in one step, of whatever kind."""


async def keys_like(redis: Redis, pattern: str, kind: str | None = None) -> AsyncIterator[list[bytes]]:
    """Yield all keys that are there from beginning to end, some at a time; one may come twice.

    Raises:
        RedisError: Redis fails.
    """
    cursor = 0
    while True:
        cursor, keys = cast(
            "tuple[int, list[bytes]]", await redis.scan(cursor, match=pattern, count=_KEYS_AT_ONCE, _type=kind)
        )
        if keys:
            yield keys
        if cursor == 0:
            return


def session_keys(redis: Redis, prefix: str) -> AsyncIterator[list[bytes]]:
    """Yield the keys of all sessions, as `keys_like` does."""
    return keys_like(redis, f"{key_of_session(prefix, '')}*", "list")
