import asyncio
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import ConfigError
from llmemb_service.encoding.cache import MemoryCache, open_cache
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings


def embedding(number: float, tokens: int = 1) -> RawEmbedding:
    return RawEmbedding(np.array([number, -number], dtype=np.float32), tokens)


def test_memory_cache_keeps_the_most_recently_used() -> None:
    """Reading counts as use."""

    async def check() -> None:
        cache = MemoryCache(2)
        await cache.write({"a": embedding(1.0), "b": embedding(2.0)})
        await cache.read(["a"])
        await cache.write({"c": embedding(3.0, tokens=7)})
        a, b, c = await cache.read(["a", "b", "c"])

        assert a is not None
        assert b is None
        assert c is not None
        assert (c.vector.tolist(), c.tokens) == ([3.0, -3.0], 7)
        assert await cache.fault() is None

    asyncio.run(check())


def test_memory_cache_does_not_keep_the_answer_that_a_vector_is_a_part_of() -> None:
    """A vector of a great answer must not hold all of it in memory."""

    async def check() -> None:
        answer = np.ones((100, 2), dtype=np.float32)
        cache = MemoryCache(2)
        await cache.write({"a": RawEmbedding(answer[3], 1)})
        kept = (await cache.read(["a"]))[0]

        assert kept is not None
        assert kept.vector.base is None

    asyncio.run(check())


def test_cache_refuses_a_url_that_is_not_redis() -> None:
    """The message names the variable and hides the value."""
    settings = Settings(bundle=Path(), redis_url="http://:hunter2@x")  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="LLMEMB_REDIS_URL") as refused:
        open_cache(settings, Metrics())
    assert "hunter2" not in str(refused.value)
