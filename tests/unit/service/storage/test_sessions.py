"""What both session stores promise, with SQLite and with a real Redis."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings
from llmemb_service.storage.session_store import Session
from llmemb_service.storage.sqlite.sessions import SqliteSessions
from llmemb_service.storage.storage import open_storage
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = None
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        with server.client() as client:
            client.flushall()
        url = SecretStr(server.url)
    return Settings(bundle=Path("bundle"), state_dir=tmp_path, redis_url=url, session_ttl_seconds=1000)


def test_session_keeps_its_most_recent_events(setup: Settings) -> None:
    """In their order, after the store was closed and opened; an unknown one is none."""

    async def run() -> None:
        async with open_storage(setup, 3) as storage:
            assert await storage.sessions.read("s") is None
            assert await storage.sessions.append("s", ["é", "b"]) == Session(("é", "b"), 1000)
            assert await storage.sessions.append("s", ["c", "d", "c"]) == Session(("c", "d", "c"), 1000)
            assert await storage.sessions.append("s{1}", list("abcdef")) == Session(("d", "e", "f"), 1000)
        async with open_storage(setup, 3) as storage:
            found = await storage.sessions.read("s")
            assert found is not None
            assert found.history == ("c", "d", "c")
            assert 900 < found.expires_in_seconds <= 1000

    asyncio.run(run())


def test_session_is_removed_once(setup: Settings) -> None:
    """The second time there is none."""

    async def run() -> None:
        async with open_storage(setup, 3) as storage:
            await storage.sessions.append("s", ["a"])
            assert await storage.sessions.remove("s")
            assert not await storage.sessions.remove("s")
            assert await storage.sessions.read("s") is None

    asyncio.run(run())


def test_session_takes_events_that_come_at_once(setup: Settings) -> None:
    """None is lost."""

    async def run() -> None:
        async with open_storage(setup, 100) as storage:
            await asyncio.gather(*(storage.sessions.append("s", [f"i{number}"]) for number in range(40)))
            found = await storage.sessions.read("s")
            assert found is not None
            assert sorted(found.history) == sorted(f"i{number}" for number in range(40))

    asyncio.run(run())


def test_expired_sessions_are_gone_and_then_deleted(tmp_path: Path) -> None:
    """Hidden from readers immediately, deleted from disk at the next sweep."""
    path = tmp_path / "s"

    async def run() -> None:
        sessions = SqliteSessions(path, max_items=3, ttl_seconds=0)
        await sessions.append("s", ["a"])
        assert await sessions.read("s") is None
        assert not await sessions.remove("s")
        assert (await sessions.append("s", ["b"])).history == ("b",)
        await sessions.close()
        sessions = SqliteSessions(path, max_items=3, ttl_seconds=0, sweep_seconds=0.01)
        while await sessions._reader.read(lambda connection: connection.execute("SELECT 1 FROM sessions").fetchone()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await sessions.close()

    asyncio.run(run())


def test_sessions_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    """Another program holds the file's write lock."""

    async def run() -> None:
        sessions = SqliteSessions(tmp_path / "s", max_items=3, ttl_seconds=9)
        sessions._writer._connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(tmp_path / "s")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError):
                await sessions.append("s", ["a"])
            assert await sessions.fault() is not None
        assert await sessions.fault() is None
        await sessions.close()

    asyncio.run(run())


def test_sessions_of_a_later_format_are_refused(tmp_path: Path) -> None:
    """The file is not touched."""
    with closing(sqlite3.connect(tmp_path / "s")) as other:
        other.execute("PRAGMA user_version = 7")

    async def run() -> None:
        SqliteSessions(tmp_path / "s", max_items=3, ttl_seconds=9)

    with pytest.raises(ConfigError, match="format 7"):
        asyncio.run(run())


def test_storage_on_disk_has_one_owner_and_redis_any(tmp_path: Path) -> None:
    """Replicas on Redis need no folder of their own."""

    async def run(setup: Settings) -> None:
        async with open_storage(setup, 3), open_storage(setup, 3):
            pass

    with pytest.raises(ConfigError, match="another process uses"):
        asyncio.run(run(Settings(bundle=Path("b"), state_dir=tmp_path)))
    with RedisServer() as server:
        folder = tmp_path / "none"
        asyncio.run(run(Settings(bundle=Path("b"), state_dir=folder, redis_url=SecretStr(server.url))))
    assert not folder.exists()
