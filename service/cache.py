"""The cache of semantic vectors, by bundle and prompt: in memory, or in Redis for several replicas to share."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from llmemb.errors import ConfigError
from service.metrics import Metrics
from service.settings import Settings

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


class VectorCache(Protocol):
    """What is known of a key may be gone at any time; a cache that fails knows nothing."""

    async def read(self, keys: Sequence[str]) -> list[Array | None]:
        """Return the vector `(D,)` of each key, None where it is not known."""
        ...

    async def write(self, vectors: Mapping[str, Array]) -> None:
        """Keep vectors `(D,)`."""
        ...

    async def fault(self) -> str | None:
        """Say why the cache does not work now, None where it does."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class MemoryCache:
    """The most recently used vectors; for the event loop's thread alone."""

    def __init__(self, max_items: int) -> None:
        self._vectors: LRUCache[str, Array] = LRUCache(max_items)

    async def read(self, keys: Sequence[str]) -> list[Array | None]:
        """See `VectorCache`."""
        return [self._vectors.get(key) for key in keys]

    async def write(self, vectors: Mapping[str, Array]) -> None:
        """See `VectorCache`."""
        self._vectors.update({key: vector.copy() for key, vector in vectors.items()})

    async def fault(self) -> str | None:
        """See `VectorCache`."""
        return None

    async def close(self) -> None:
        """See `VectorCache`."""
        self._vectors.clear()


class RedisCache:
    """Vectors in Redis, as raw float32, for a time to live.

    After a failure Redis is left alone for a while, so that only few requests pay its timeout.

    Args:
        redis: answers bytes, and gives up by itself after a short time.
        width: of a vector, D.
        ttl_seconds: how long a vector is kept.
        retry_seconds: how long Redis is left alone after a failure.
        metrics: counts the failures.
    """

    def __init__(self, redis: Redis, *, width: int, ttl_seconds: int, retry_seconds: float, metrics: Metrics) -> None:
        self._redis = redis
        self._bytes = width * 4
        self._ttl_seconds = ttl_seconds
        self._retry_seconds = retry_seconds
        self._metrics = metrics
        self._retry_at = 0.0

    async def read(self, keys: Sequence[str]) -> list[Array | None]:
        """See `VectorCache`."""
        if keys and time.monotonic() >= self._retry_at:
            try:
                return [self._vector(raw) for raw in await self._mget(keys)]
            except (RedisError, OSError) as error:
                self._failed(error)
        return [None] * len(keys)

    async def write(self, vectors: Mapping[str, Array]) -> None:
        """See `VectorCache`."""
        if not vectors or time.monotonic() < self._retry_at:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, vector in vectors.items():
                    pipeline.set(key, vector.astype("<f4").tobytes(), ex=self._ttl_seconds)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._failed(error)

    async def fault(self) -> str | None:
        """See `VectorCache`."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            self._failed(error)
            return f"Redis does not answer ({type(error).__name__})"
        self._retry_at = 0.0
        return None

    async def close(self) -> None:
        """See `VectorCache`."""
        await self._redis.aclose()

    async def _mget(self, keys: Sequence[str]) -> list[bytes | None]:
        # The client is typed for decoded answers too; ours are bytes.
        return cast("list[bytes | None]", await self._redis.mget(keys))

    def _vector(self, raw: bytes | None) -> Array | None:
        # A value of another length is not ours, or half of one: embedding anew replaces it.
        return np.frombuffer(raw, dtype="<f4") if raw is not None and len(raw) == self._bytes else None

    def _failed(self, error: Exception) -> None:
        self._metrics.redis_errors.inc()
        self._retry_at = time.monotonic() + self._retry_seconds
        # The kind alone: a message may hold the address.
        logger.warning("Redis failed (%s); going on without it", type(error).__name__)


def open_cache(settings: Settings, width: int, metrics: Metrics) -> VectorCache:
    """Make the cache that the settings ask for.

    Raises:
        ConfigError: LLMEMB_REDIS_URL is no Redis URL.
    """
    if settings.redis_url is None:
        return MemoryCache(settings.cache_max_items)
    try:
        redis = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=settings.redis_timeout_seconds,
            socket_connect_timeout=settings.redis_timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise ConfigError("LLMEMB_REDIS_URL: not a Redis URL, such as redis://host:6379/0") from None
    return RedisCache(
        redis,
        width=width,
        ttl_seconds=settings.cache_ttl_seconds,
        retry_seconds=settings.redis_retry_seconds,
        metrics=metrics,
    )
