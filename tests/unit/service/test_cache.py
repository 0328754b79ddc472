import asyncio
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import ConfigError
from service.cache import MemoryCache, open_cache
from service.metrics import Metrics
from service.settings import Settings


def test_memory_cache_keeps_the_most_recently_used() -> None:
    """Reading counts as use."""

    async def check() -> None:
        cache = MemoryCache(2)
        await cache.write({"a": np.array([1.0], dtype=np.float32), "b": np.array([2.0], dtype=np.float32)})
        await cache.read(["a"])
        await cache.write({"c": np.array([3.0], dtype=np.float32)})
        a, b, c = await cache.read(["a", "b", "c"])

        assert a is not None
        assert b is None
        assert c is not None
        assert await cache.fault() is None

    asyncio.run(check())


def test_cache_refuses_a_url_that_is_not_redis() -> None:
    """The message names the variable and hides the value."""
    settings = Settings(bundle=Path(), redis_url="http://:hunter2@x")  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="LLMEMB_REDIS_URL") as refused:
        open_cache(settings, 4, Metrics())
    assert "hunter2" not in str(refused.value)
