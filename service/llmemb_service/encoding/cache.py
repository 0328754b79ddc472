"""The cache of raw embeddings, keyed by bundle and text: in memory, or in Redis, shared by several replicas."""

import logging
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
from cachetools import LRUCache
from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.connections import connect, describe_error

_TOKENS = struct.Struct("<I")
_TRIM = """
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
if surplus > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[1], surplus)
    for i = 1, #oldest, 2 do redis.call('UNLINK', oldest[i]) end
end
"""
"""Deletes the least recently used keys beyond the maximum number."""

logger = logging.getLogger(__name__)


class RedisCache:
    """Raw embeddings in Redis: the number of tokens and the vector as float32, with a time to live.

    A sorted set has every key with the time of its last use; each write trims the set and deletes the trimmed keys.
    After a failure Redis is not used for a while, so that only few requests wait for its timeout.

    Args:
        redis: answers bytes, with a short timeout.
        prefix: of every key.
        max_items: maximum number of embeddings, of all bundles together.
        ttl_seconds: time to live of an embedding after it was written.
        retry_seconds: how long Redis is not used after a failure.
        metrics: counts the failures.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        max_items: int,
        ttl_seconds: int,
        retry_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._prefix = f"{prefix}:embedding:"
        self._used = f"{prefix}:embeddings_used"
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds
        self._retry_seconds = retry_seconds
        self._metrics = metrics
        self._retry_at = 0.0

    async def read(self, keys: Sequence[str]) -> list[RawEmbedding | None]:
        """See `VectorCache`."""
        if keys and time.monotonic() >= self._retry_at:
            try:
                return await self._read([self._prefix + key for key in keys])
            except (RedisError, OSError) as error:
                self._failed(error)
        return [None] * len(keys)

    async def write(self, embeddings: Mapping[str, RawEmbedding]) -> None:
        """See `VectorCache`."""
        if not embeddings or time.monotonic() < self._retry_at:
            return
        now = time.time()
        values = {self._prefix + key: _to_bytes(embedding) for key, embedding in embeddings.items()}
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                for key, value in values.items():
                    pipeline.set(key, value, ex=self._ttl_seconds)
                pipeline.zadd(self._used, dict.fromkeys(values, now))
                # Keys that were not used for their whole time to live have already expired in Redis.
                pipeline.zremrangebyscore(self._used, "-inf", now - self._ttl_seconds)
                pipeline.eval(_TRIM, 1, self._used, str(self._max_items))
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._failed(error)

    async def fault(self) -> str | None:
        """See `VectorCache`."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            self._failed(error)
            return describe_error(error)
        self._retry_at = 0.0
        return None

    async def close(self) -> None:
        """See `VectorCache`."""
        await self._redis.aclose()

    async def _read(self, keys: list[str]) -> list[RawEmbedding | None]:
        # The client's type also allows decoded answers; here they are bytes.
        raw = cast("list[bytes | None]", await self._redis.mget(keys))
        found = [key for key, value in zip(keys, raw, strict=True) if value is not None]
        if found:
            # XX: a key that another replica is trimming now must not be added to the set again.
            await self._redis.zadd(self._used, dict.fromkeys(found, time.time()), xx=True)
        return [_from_bytes(value) for value in raw]

    def _failed(self, error: Exception) -> None:
        self._metrics.redis_errors.inc()
        self._retry_at = time.monotonic() + self._retry_seconds
        logger.warning("%s; continuing without the cache", describe_error(error))


def _to_bytes(embedding: RawEmbedding) -> bytes:
    return _TOKENS.pack(embedding.tokens) + embedding.vector.astype("<f4").tobytes()


def _from_bytes(value: bytes | None) -> RawEmbedding | None:
    # A value of another length is not ours, or truncated: the text is embedded again and the value replaced.
    if value is None or len(value) <= _TOKENS.size or len(value) % 4:
        return None
    return RawEmbedding(np.frombuffer(value, dtype="<f4", offset=_TOKENS.size), _TOKENS.unpack_from(value)[0])


class VectorCache(Protocol):
    """A cache of raw embeddings. An entry may disappear at any time; a failing cache behaves like an empty one."""

    async def read(self, keys: Sequence[str]) -> list[RawEmbedding | None]:
        """Return the embedding of each key, None for a miss."""
        ...

    async def write(self, embeddings: Mapping[str, RawEmbedding]) -> None:
        """Store embeddings."""
        ...

    async def fault(self) -> str | None:
        """Return why the cache does not work, None if it works."""
        ...

    async def close(self) -> None:
        """Release the cache's resources."""
        ...


class MemoryCache:
    """An LRU cache in memory; use it only in the event loop's thread."""

    def __init__(self, max_items: int) -> None:
        self._embeddings: LRUCache[str, RawEmbedding] = LRUCache(max_items)

    async def read(self, keys: Sequence[str]) -> list[RawEmbedding | None]:
        """See `VectorCache`."""
        return [self._embeddings.get(key) for key in keys]

    async def write(self, embeddings: Mapping[str, RawEmbedding]) -> None:
        """See `VectorCache`."""
        for key, embedding in embeddings.items():
            # A copy: the vector is a view into a whole answer, which it would keep in memory.
            self._embeddings[key] = RawEmbedding(embedding.vector.copy(), embedding.tokens)

    async def fault(self) -> str | None:
        """See `VectorCache`."""
        return None

    async def close(self) -> None:
        """See `VectorCache`."""
        self._embeddings.clear()


def open_cache(settings: Settings, metrics: Metrics) -> VectorCache:
    """Create the cache that is configured in the settings.

    Raises:
        ConfigError: LLMEMB_REDIS_URL is not a Redis URL.
    """
    if settings.redis_url is None:
        return MemoryCache(settings.cache_max_items)
    return RedisCache(
        connect(settings),
        prefix=settings.redis_prefix,
        max_items=settings.cache_max_items,
        ttl_seconds=settings.cache_ttl_seconds,
        retry_seconds=settings.redis_retry_seconds,
        metrics=metrics,
    )
