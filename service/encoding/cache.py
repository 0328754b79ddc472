"""The cache of raw embeddings, by bundle and text: in memory, or in Redis for several replicas to share."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from cachetools import LRUCache

from service.encoding.prompt_encoder import RawEmbedding
from service.encoding.redis_cache import RedisCache
from service.settings import Settings
from service.sight.metrics import Metrics
from service.storage.redis_connections import connect


class VectorCache(Protocol):
    """What is known of a key may be gone at any time; a cache that fails knows nothing."""

    async def read(self, keys: Sequence[str]) -> list[RawEmbedding | None]:
        """Return the embedding of each key, None where it is not known."""
        ...

    async def write(self, embeddings: Mapping[str, RawEmbedding]) -> None:
        """Keep embeddings."""
        ...

    async def fault(self) -> str | None:
        """Say why the cache does not work now, None where it does."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class MemoryCache:
    """The most recently used embeddings; for the event loop's thread alone."""

    def __init__(self, max_items: int) -> None:
        self._embeddings: LRUCache[str, RawEmbedding] = LRUCache(max_items)

    async def read(self, keys: Sequence[str]) -> list[RawEmbedding | None]:
        """See `VectorCache`."""
        return [self._embeddings.get(key) for key in keys]

    async def write(self, embeddings: Mapping[str, RawEmbedding]) -> None:
        """See `VectorCache`."""
        for key, embedding in embeddings.items():
            # A copy: the vector is a part of a whole answer, which it would keep in memory.
            self._embeddings[key] = RawEmbedding(embedding.vector.copy(), embedding.tokens)

    async def fault(self) -> str | None:
        """See `VectorCache`."""
        return None

    async def close(self) -> None:
        """See `VectorCache`."""
        self._embeddings.clear()


def open_cache(settings: Settings, metrics: Metrics) -> VectorCache:
    """Make the cache that the settings ask for.

    Raises:
        ConfigError: LLMEMB_REDIS_URL is no Redis URL.
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
