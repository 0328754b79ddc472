import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmemb_service.encoding.cache import VectorCache, open_cache
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def open_redis_cache(server: RedisServer, prefix: str, metrics: Metrics | None = None, **settings: Any) -> VectorCache:
    made = Settings(bundle=Path(), redis_url=server.url, redis_prefix=prefix, redis_timeout_seconds=5, **settings)
    return open_cache(made, metrics or Metrics())


def embedding(number: float, tokens: int = 1) -> RawEmbedding:
    return RawEmbedding(np.array([number, -number], dtype=np.float32), tokens)


async def known(cache: VectorCache, *keys: str) -> list[bool]:
    return [found is not None for found in await cache.read(keys)]


def test_redis_cache_gives_back_vector_and_tokens(server: RedisServer) -> None:
    """One replica reads what another wrote; an unwritten key is unknown; a key has a time to live."""

    async def check() -> None:
        one, other = open_redis_cache(server, "given"), open_redis_cache(server, "given", cache_ttl_seconds=60)
        await one.write({"a": embedding(1.5, tokens=300)})
        a, b = await other.read(["a", "b"])

        assert a is not None
        assert (a.vector.tolist(), a.tokens, b) == ([1.5, -1.5], 300, None)
        assert await one.fault() is None
        with server.client() as client:
            assert client.ttl("given:embedding:a") > 0
        await one.close()
        await other.close()

    asyncio.run(check())


def test_redis_cache_keeps_the_most_recently_used(server: RedisServer) -> None:
    """Past the limit those that were used longest ago leave Redis, keys and set alike; reading counts as use."""

    async def check() -> None:
        cache = open_redis_cache(server, "limited", cache_max_items=3)
        for key in "abc":
            await cache.write({key: embedding(1)})
        await cache.read(["a"])
        await cache.write({"d": embedding(1), "e": embedding(1)})

        assert await known(cache, *"abcde") == [True, False, False, True, True]
        with server.client() as client:
            assert len(client.keys("limited:embedding:*")) == 3
            assert client.zcard("limited:embeddings_used") == 3
        await cache.close()

    asyncio.run(check())


def test_redis_cache_holds_its_limit_when_one_write_is_larger(server: RedisServer) -> None:
    """Even then no more than the limit stays."""

    async def check() -> None:
        cache = open_redis_cache(server, "small", cache_max_items=3)
        await cache.write({str(i): embedding(i) for i in range(10)})

        assert sum(await known(cache, *map(str, range(10)))) == 3
        await cache.close()

    asyncio.run(check())


@pytest.mark.parametrize("value", [b"", b"1234", b"12345", b"123456789"])
def test_redis_cache_knows_nothing_of_a_value_that_is_none_of_ours(server: RedisServer, value: bytes) -> None:
    """Half a value, or somebody else's, is embedded anew."""

    async def check() -> None:
        cache = open_redis_cache(server, "foreign")
        with server.client() as client:
            client.set("foreign:embedding:a", value)

        assert await cache.read(["a"]) == [None]
        await cache.close()

    asyncio.run(check())


def test_redis_cache_fails_softly_and_recovers() -> None:
    """Without Redis nothing is known and nothing raised; it is left alone, and used again when it is back."""

    async def check() -> None:
        metrics = Metrics()
        with RedisServer() as server:
            cache = open_redis_cache(server, "soft", metrics)
            await cache.write({"a": embedding(1)})
            server.stop()
            assert await known(cache, "a") == [False]
            await cache.write({"b": embedding(1)})
            assert await known(cache, "b") == [False]
            fault = await cache.fault()
            server.start()
            recovered = await cache.fault()
            await cache.write({"c": embedding(1)})

            assert fault is not None
            assert server.url not in fault
            assert recovered is None
            assert await known(cache, "c") == [True]
            # One for the read, one for the question; the others did not try.
            assert b"llmemb_redis_errors_total 2.0" in metrics.exposition()
            await cache.close()

    asyncio.run(check())
