"""Replicas on a real Redis that stops, hangs, forgets and is full."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import RemoveItem
from llmemb_service.storage.item_log import ItemLog
from llmemb_service.storage.redis.connections import connect
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower, put
from tests.support.redis_server import RedisServer
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps all it acknowledged."""
    with RedisServer(tmp_path) as server:
        yield server


def settings_with(server: RedisServer, **others: object) -> Settings:
    return Settings(
        bundle=Path("bundle"), redis_url=SecretStr(server.url), redis_retry_seconds=0.1, **others  # type: ignore[arg-type]
    )  # fmt: skip


async def attached(log: ItemLog) -> DictFollower:
    follower = DictFollower()
    await log.attach(follower)
    return follower


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def works(log: ItemLog) -> None:
    """Wait until the log has no fault."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while await log.fault() is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_replicas_tell_each_other_in_one_order(server: RedisServer) -> None:
    """Both write concurrently; both hold the same, in the same order, and so does one that comes later."""

    async def run() -> None:
        setup = settings_with(server)
        async with open_storage(setup, 10) as one, open_storage(setup, 10) as two:
            first, second = await attached(one.items), await attached(two.items)

            async def write(log: ItemLog, name: str) -> None:
                for number in range(50):
                    await log.append([put(f"{name}{number % 9}", number), put("both", number)])

            await asyncio.gather(write(one.items, "x"), write(two.items, "y"))
            third = await attached(two.items)
            await until(lambda: len(first.told) == len(second.told) == 200)
            assert first.told == second.told
            assert list(first.items.items()) == list(second.items.items()) == list(third.items.items())

    asyncio.run(run())


def test_redis_killed_under_appends_loses_nothing_acknowledged(server: RedisServer) -> None:
    """While it is away appends fail; both replicas catch up by themselves, and hold what Redis holds."""

    async def run() -> None:
        setup = settings_with(server)
        acknowledged: list[str] = []
        async with open_storage(setup, 10) as one, open_storage(setup, 10) as two:
            followers = await attached(one.items), await attached(two.items)
            stopping = asyncio.Event()

            async def write(name: str) -> None:
                number = 0
                while not stopping.is_set():
                    number += 1
                    try:
                        await one.items.append([put(f"{name}{number}", number)])
                        acknowledged.append(f"{name}{number}")
                    except StorageError:
                        await asyncio.sleep(0.01)

            writers = [asyncio.create_task(write(name)) for name in "xyz"]
            for _ in range(3):
                before = len(acknowledged)
                await until(lambda before=before: len(acknowledged) > before + 20)  # type: ignore[misc]
                await asyncio.to_thread(server.restart)
            stopping.set()
            await asyncio.gather(*writers)
            await works(one.items)
            await one.items.append([put("last")])
            await until(lambda: all("last" in follower.items for follower in followers))
            third = await attached(two.items)
        assert set(acknowledged) <= third.items.keys()
        assert followers[0].items == followers[1].items == third.items

    asyncio.run(run())


def test_redis_that_is_away_fails_appends_at_once_and_says_so(server: RedisServer) -> None:
    """Nothing is acknowledged or told; when it is back all works without a restart."""

    async def run() -> None:
        async with open_storage(settings_with(server), 10) as storage:
            follower = await attached(storage.items)
            server.stop()
            await until(lambda: storage.items._follower.fault is not None)  # type: ignore[attr-defined]
            with pytest.raises(StorageError, match="Redis does not answer"):
                await storage.items.append([put("a")])
            with pytest.raises(StorageError):
                await attached(storage.items)
            assert "Redis does not answer" in (await storage.items.fault() or "")
            assert follower.items == {}

            await asyncio.to_thread(server.start)
            await works(storage.items)
            await storage.items.append([put("a")])
            assert list(follower.items) == ["a"]

    asyncio.run(run())


def test_redis_that_hangs_is_as_good_as_away(server: RedisServer) -> None:
    """An append gives up by itself; it may have been written, and everyone agrees afterwards."""

    async def run() -> None:
        async with open_storage(settings_with(server), 10) as storage:
            follower = await attached(storage.items)
            server.pause()
            with pytest.raises(StorageError):
                await storage.items.append([put("a")])
            assert await storage.items.fault() is not None
            server.resume()
            await works(storage.items)
            await storage.items.append([put("b")])
            assert follower.items == (await attached(storage.items)).items

    asyncio.run(run())


def test_log_opens_without_its_redis_and_follows_when_it_comes(tmp_path: Path) -> None:
    """Attaching says what is wrong, and can be tried again."""

    async def run() -> None:
        server = RedisServer(tmp_path)
        async with open_storage(settings_with(server), 10) as storage:
            with pytest.raises(StorageError, match="Redis does not answer"):
                await attached(storage.items)
            with server:
                await works(storage.items)
                follower = await attached(storage.items)
                await storage.items.append([put("a")])
                assert list(follower.items) == ["a"]

    asyncio.run(run())


def test_redis_url_that_is_none_is_refused_without_its_password() -> None:
    """By the variable's name."""
    setup = Settings(bundle=Path("bundle"), redis_url=SecretStr("http://me:hunter2@host"))
    with pytest.raises(ConfigError, match="LLMEMB_REDIS_URL") as caught:
        connect(setup)
    assert "hunter2" not in str(caught.value)


def test_flushed_redis_empties_the_followers(server: RedisServer) -> None:
    """Within the second in which the log is looked at; what comes afterwards is followed."""

    async def run() -> None:
        setup = settings_with(server)
        async with open_storage(setup, 10) as one, open_storage(setup, 10) as two:
            first, second = await attached(one.items), await attached(two.items)
            await one.items.append([put("a"), put("b")])
            with server.client() as redis:
                redis.flushall()
            await until(lambda: not first.items and not second.items)
            await two.items.append([put("c")])
            await until(lambda: list(first.items) == list(second.items) == ["c"])

    asyncio.run(run())


def test_follower_that_missed_trimmed_changes_reads_the_whole_state(server: RedisServer) -> None:
    """The log is short, and one replica was cut off while the other wrote more than it holds."""

    async def run() -> None:
        setup = settings_with(server, redis_log_entries=100)
        async with open_storage(setup, 10) as one:
            first = await attached(one.items)
            await one.items.append([put("gone"), put("old")])
            async with open_storage(setup, 10) as two:
                second = await attached(two.items)
                following = two.items._follower  # type: ignore[attr-defined]
                following._task.cancel()
                await asyncio.wait([following._task])
                assert await two.items.fault() is not None
                await one.items.append([RemoveItem("gone")])
                for number in range(30):
                    await one.items.append([put(f"i{number}-{part}", part) for part in range(20)])
                with server.client() as redis:
                    assert redis.xlen("{llmemb}:catalogue:log") < 400
                following._task = asyncio.create_task(following._run())
                await until(lambda: second.items == first.items)
                assert second.restorations == 2
                assert list(second.items) == list(first.items)

    asyncio.run(run())


def test_full_redis_refuses_and_recovers(server: RedisServer) -> None:
    """503, not a loss; readiness knows."""

    async def run() -> None:
        async with open_storage(settings_with(server), 10) as storage:
            follower = await attached(storage.items)
            with server.client() as redis:
                redis.config_set("maxmemory", 1)
                with pytest.raises(StorageError, match="out of memory; nothing was written"):
                    await storage.items.append([put("a")])
                with pytest.raises(StorageError):
                    await storage.sessions.append("s", ["a"])
                assert "out of memory" in (await storage.items.fault() or "")
                assert "out of memory" in (await storage.sessions.fault() or "")
                redis.config_set("maxmemory", 0)
            assert follower.items == {}
            await storage.items.append([put("a")])
            assert list(follower.items) == ["a"]

    asyncio.run(run())


def test_full_redis_is_read_all_the_same(server: RedisServer) -> None:
    """A replica that starts, or has lost its place in the log, reads the catalogue's state; so does a backup."""

    async def run() -> None:
        setup = settings_with(server)
        async with open_storage(setup, 10) as one:
            first = await attached(one.items)
            await one.items.append([put("a"), put("b"), RemoveItem("b")])
            await one.sessions.append("s", ["a"])
            with server.client() as redis:
                redis.config_set("maxmemory", 1)
                redis.script_flush()
            async with open_storage(setup, 10) as two:
                assert (await attached(two.items)).items == first.items
                session = await two.sessions.read("s")
                assert session is not None
                assert session.history == ("a",)

    asyncio.run(run())


@pytest.mark.parametrize(("durable", "said"), [(True, ""), (False, "no append-only file")])
def test_redis_that_may_lose_items_is_named_once(
    tmp_path: Path, durable: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a warning when the storage is opened; the password is in none."""

    async def run(setup: Settings) -> None:
        async with open_storage(setup, 10) as storage:
            await attached(storage.items)

    with RedisServer(tmp_path if durable else None) as server, caplog.at_level(logging.WARNING, "llmemb_service"):
        asyncio.run(run(settings_with(server)))
        warnings = [record.getMessage() for record in caplog.records if record.name.startswith("llmemb_service")]
        assert len(warnings) == (0 if durable else 1)
        assert said in "".join(warnings)
        wrong = Settings(bundle=Path("b"), redis_url=SecretStr(server.url.replace("://", "://me:hunter2@")))
        with pytest.raises(StorageError) as caught:
            asyncio.run(run(wrong))
        assert "hunter2" not in caplog.text + str(caught.value)
