"""Stores of older programs are read and upgraded, those of later ones refused. The texts in `old_stores` are what the
older programs wrote."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import ConfigError
from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.catalogue import RedisKeys, to_arguments
from llmemb_service.storage.redis.scripts import APPEND, FORMAT
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower, Kept, put
from tests.support.kept_state import Storages, state_of
from tests.support.redis_server import RedisServer

OLD = Path(__file__).parent / "old_stores"


def vector(*numbers: float) -> tuple[float, ...]:
    return tuple(np.array(numbers, dtype=np.float32).tolist())


SQLITE_1 = {
    "b1": [
        ("z", Kept('{"title":"Être","year":"1990"}', vector=vector(0.3, 6))),
        ("a", Kept('{"title":"Le \\"Chat\\""}')),
    ],
    "b2": [
        ("z", Kept('{"title":"Être","year":"1990"}')),
        ("a", Kept('{"title":"Le \\"Chat\\""}', vector=vector(0.2, 4))),
    ],
}
REDIS_UNNUMBERED = {
    "b1": [
        ("z", Kept('{"title":"Être"}', ("x", 'y"'), False, vector=vector(0.1, 2))),
        ("a", Kept('{"title":"Le \\"Chat\\""}')),
        ("m", Kept(available=False)),
        ("gone", Kept(removed=True)),
    ],
    "b2": [
        ("z", Kept('{"title":"Être"}', ("x", 'y"'), False, vector=vector(3, 4))),
        ("a", Kept('{"title":"Le \\"Chat\\""}', vector=vector(0.1, 2))),
        ("m", Kept(available=False)),
        ("gone", Kept(removed=True)),
    ],
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def storages(tmp_path: Path, server: RedisServer, request: pytest.FixtureRequest) -> Storages:
    with server.client() as client:
        client.flushall()
    return Storages(tmp_path, server, request.node.name)


def old_state_folder(setup: Settings) -> Path:
    """Catalogue of format 1, and no sessions, which came later."""
    setup.state_dir.mkdir()
    path = setup.state_dir / "catalogue.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript((OLD / "catalogue_1.sql").read_text(encoding="utf-8"))
    return path


def old_redis(setup: Settings, server: RedisServer) -> Settings:
    """Keys from before their format had a number, under the prefix `old`."""
    with server.client() as client:
        for line in (OLD / "redis_unnumbered.jsonl").read_text(encoding="utf-8").splitlines():
            client.execute_command(*(word.encode("latin-1") for word in json.loads(line)))
    return setup.model_copy(update={"redis_prefix": "old"})


@pytest.mark.parametrize("target", ["sqlite", "redis"])
def test_state_folder_of_format_1_is_backed_up_as_it_lies(storages: Storages, tmp_path: Path, target: str) -> None:
    """Without a service of this version, and without a change to it; the backup is of the present format."""

    async def run() -> None:
        source, restored = storages.new("sqlite"), storages.new(target)
        path = old_state_folder(source)
        before = path.read_bytes()
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        await restore_backup(restored, backup.path, replace=False, progress=Progress())
        assert (await state_of(restored)).items == SQLITE_1
        assert path.read_bytes() == before

    asyncio.run(run())


def test_state_folder_of_format_1_is_upgraded_where_it_lies(storages: Storages) -> None:
    """By the service that opens it; sessions begin with it."""

    async def run() -> None:
        setup = storages.new("sqlite")
        old_state_folder(setup)
        for _ in range(2):
            assert (await state_of(setup)).items == SQLITE_1

    asyncio.run(run())


@pytest.mark.parametrize("target", ["sqlite", "redis"])
def test_unnumbered_redis_is_backed_up(storages: Storages, server: RedisServer, tmp_path: Path, target: str) -> None:
    """With its session."""

    async def run() -> None:
        source, restored = old_redis(storages.new("redis"), server), storages.new(target)
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        assert (backup.manifest.items, backup.manifest.removed) == (3, 1)
        await restore_backup(restored, backup.path, replace=False, progress=Progress())
        state = await state_of(restored, ("ü:1",))
        assert state.items == REDIS_UNNUMBERED
        assert state.sessions["ü:1"][0] == ("z", "a", "z")

    asyncio.run(run())


def test_unnumbered_redis_gets_its_number(storages: Storages, server: RedisServer) -> None:
    """With the first change; all that was there stays, and its replicas follow on."""

    async def run() -> None:
        setup = old_redis(storages.new("redis"), server)
        state = await state_of(setup, then=[put("new", 1)])
        assert state.items == REDIS_UNNUMBERED
        assert state.then["b1"] == [*REDIS_UNNUMBERED["b1"], ("new", Kept('{"title":"é 1"}', vector=(1.0, -1.0)))]
        with server.client() as client:
            assert client.hget("{old}:catalogue:meta", "format") == str(FORMAT).encode()

    asyncio.run(run())


def test_redis_of_a_later_program_is_refused(storages: Storages, server: RedisServer, tmp_path: Path) -> None:
    """Neither read nor written, not even by a restore; an append that is on its way when it comes is refused too."""

    async def run() -> None:
        source, setup = storages.new("sqlite"), storages.new("redis")
        await state_of(source, then=[put("a")])
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        keys = RedisKeys(setup.redis_prefix)
        said = f"format {FORMAT + 1}, this program reads up to {FORMAT}"
        with server.client() as client:
            client.hset(keys.meta, "format", FORMAT + 1)
            before = client.keys("*")
            async with open_storage(setup, 10) as storage:
                with pytest.raises(StorageError, match=said):
                    await storage.items.attach(DictFollower())
                with pytest.raises(StorageError, match=said):
                    await storage.items.append([put("b")])
                with pytest.raises(StorageError, match="a later version of this program"):
                    await storage.items._writer.run(  # type: ignore[attr-defined]
                        APPEND, keys.of_changes(), ["epoch", 100, *to_arguments(put("b"))]
                    )
                assert said in (await storage.items.fault() or "")
            with pytest.raises(StorageError, match=said):
                await write_backup(setup, tmp_path / "other.zip", Progress())
            with pytest.raises(StorageError, match=said):
                await restore_backup(setup, backup.path, replace=True, progress=Progress())
            assert client.keys("*") == before

    asyncio.run(run())


@pytest.mark.parametrize(("name", "later"), [("catalogue", 3), ("sessions", 2)])
def test_state_folder_of_a_later_program_is_refused(storages: Storages, tmp_path: Path, name: str, later: int) -> None:
    """By the service and by the backup, with both numbers."""
    setup = storages.new("sqlite")
    asyncio.run(state_of(setup))
    with closing(sqlite3.connect(setup.state_dir / f"{name}.sqlite3")) as connection:
        connection.execute(f"PRAGMA user_version = {later}")
    said = f"database has format {later}, this program reads up to {later - 1}"

    with pytest.raises(ConfigError, match=said):
        asyncio.run(state_of(setup))
    with pytest.raises(BackupError, match=said):
        asyncio.run(write_backup(setup, tmp_path / "backup.zip", Progress()))
