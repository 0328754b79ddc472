"""Whether writes are on Redis's disk: asked with each write, said where it is not known, and asked again."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.connections import connect
from llmemb_service.storage.redis.writer import RedisWriter, Script
from llmemb_service.storage.storage import Storage, open_storage
from tests.support.redis_server import RedisServer
from tests.support.redis_with_waitaof import (
    NO_FILE,
    NO_PERMISSION,
    NOT_IN_TIME,
    ON_DISK,
    UNBLOCKED,
    UNKNOWN,
    WaitAof,
    redis_with_waitaof,
)
from tests.support.waiting import DEADLINE_SECONDS

LOGGER = "llmemb_service.storage.redis.writer"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps all it acknowledged."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def opened(url: str) -> Settings:
    return Settings(bundle=Path("bundle"), redis_url=SecretStr(url))


async def write(storage: Storage) -> None:
    await storage.sessions.append("s", ["1"])


async def faults(storage: Storage) -> set[str | None]:
    """The faults, once the log has been read for the first time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (fault := await storage.items.fault()) == "Redis was not reached yet":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return {fault, await storage.sessions.fault()}


def messages(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged.records if record.name == LOGGER]


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(test)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(NO_FILE, "it has no append-only file"), (NO_PERMISSION, "the user has no permission for WAITAOF")],
    ids=["no file", "no permission"],
)
def test_redis_that_does_not_promise_its_disk_is_used_and_reported(
    server: RedisServer, logged: pytest.LogCaptureFixture, answer: bytes, why: str
) -> None:
    """Writes are acknowledged as before; the log says it once, `/readyz` until Redis promises again."""
    said = f"Redis does not confirm that writes are on its disk: {why}"

    async def test() -> None:
        async with redis_with_waitaof(server) as redis, open_storage(opened(redis.url), 10) as storage:
            await write(storage)
            assert await faults(storage) == {None}
            redis.answer = answer
            await write(storage)
            await write(storage)
            assert await faults(storage) == {said}
            redis.answer = ON_DISK
            assert await faults(storage) == {None}

    run(test())
    assert messages(logged) == [said, "Redis confirms again that writes are on its disk"]


def test_write_whose_confirmation_fails_is_not_acknowledged(server: RedisServer) -> None:
    """A failover, say: the write may be lost. The next one is confirmed again."""

    async def test() -> None:
        async with redis_with_waitaof(server) as redis, open_storage(opened(redis.url), 10) as storage:
            redis.answer = UNBLOCKED
            with pytest.raises(StorageError, match="it may not have been written"):
                await write(storage)
            redis.answer = NOT_IN_TIME
            with pytest.raises(StorageError, match="it may not have been written"):
                await write(storage)
            redis.answer, asked = ON_DISK, redis.asked
            await write(storage)
            assert redis.asked == asked + 1
            assert await faults(storage) == {None}

    run(test())


def test_refusal_of_one_write_does_not_end_the_waiting_for_others(server: RedisServer) -> None:
    """After each kind of error the next write waits for the disk again."""

    async def test() -> None:
        async with redis_with_waitaof(server) as redis, open_storage(opened(redis.url), 10) as storage:
            for answer in (NO_FILE, NO_PERMISSION):
                redis.answer = answer
                await write(storage)
                redis.answer = NOT_IN_TIME
                with pytest.raises(StorageError):
                    await write(storage)

    run(test())


def test_older_redis_is_logged_once_and_asked_again_later(
    server: RedisServer, logged: pytest.LogCaptureFixture
) -> None:
    """It is no fault: `appendfsync always` does the same there. One that is upgraded is found out."""
    script, now = Script("return redis.call('SET', KEYS[1], 1)"), 1000.0

    async def asks(writer: RedisWriter, redis: WaitAof) -> bool:
        before = redis.asked
        await writer.run(script, ["key"], [])
        return redis.asked > before

    async def test() -> None:
        nonlocal now
        async with redis_with_waitaof(server) as redis, connect(opened(redis.url)) as client:
            writer = RedisWriter(client, clock=lambda: now)
            redis.answer = UNKNOWN
            assert [await asks(writer, redis) for _ in range(3)] == [True, False, False]
            assert await writer.fault() is None
            now += 60
            assert [await asks(writer, redis) for _ in range(2)] == [True, False]
            now += 60
            redis.answer = ON_DISK
            assert [await asks(writer, redis) for _ in range(2)] == [True, True]

    run(test())
    (message,) = messages(logged)
    assert message.startswith("Redis is older than 7.2 and does not know WAITAOF")


def test_real_redis_without_the_command_is_an_older_one(server: RedisServer, logged: pytest.LogCaptureFixture) -> None:
    """The error of a real Redis 6.2 is distinguished from all others."""

    async def test() -> None:
        async with open_storage(opened(server.url), 10) as storage:
            await write(storage)
            assert await faults(storage) == {None}

    with server.client() as client:
        if client.info("server")["redis_version"].split(".") >= ["7", "2"]:
            pytest.skip("this Redis knows WAITAOF")
    run(test())
    assert "does not know WAITAOF" in logged.text
