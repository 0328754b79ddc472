"""A backup restored, from each storage into each: the same as before, whatever had happened."""

import asyncio
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import Restored, restore_backup
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import Change, RemoveItem
from llmemb_service.storage.redis.connections import connect
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower, changes, put
from tests.support.kept_state import State, Storages, state_of
from tests.support.redis_server import RedisServer

KINDS = ("sqlite", "redis")
IDS = ["a", "b", "ü\n"]
SESSIONS = ("s", "ü:1")
Appended = list[list[Change]]
Events = list[tuple[str, list[str]]]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def storages(tmp_path: Path, server: RedisServer, request: pytest.FixtureRequest) -> Storages:
    return Storages(tmp_path, server, request.node.name)


async def fill(setup: Settings, appended: Appended, events: Events = []) -> None:  # noqa: B006 - only read
    async with open_storage(setup, 1000) as storage:
        await storage.items.attach(DictFollower())
        for some in appended:
            await storage.items.append(some)
        for session_id, item_ids in events:
            await storage.sessions.append(session_id, item_ids)


async def copied(source: Settings, target: Settings, folder: Path, *, replace: bool = False) -> Restored:
    backup = await write_backup(source, folder / "backup.zip", Progress())
    return await restore_backup(target, backup.path, replace=replace, progress=Progress())


def same(one: State, other: State) -> bool:
    """The same items, the same sessions, and their ends within some seconds of each other."""
    ends = [(one.sessions[name][1], other.sessions[name][1]) for name in one.sessions.keys() & other.sessions.keys()]
    return (
        one.items == other.items
        and one.then == other.then
        and {name: history for name, (history, _) in one.sessions.items()}
        == {name: history for name, (history, _) in other.sessions.items()}
        and all(abs(first - second) <= 60 for first, second in ends)
    )


@pytest.mark.parametrize("source", KINDS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    appended=st.lists(st.lists(changes(IDS), min_size=1, max_size=3), max_size=8),
    events=st.lists(st.tuples(st.sampled_from(SESSIONS), st.lists(st.sampled_from("ab"), min_size=1)), max_size=4),
    later=changes(IDS),
)
def test_restored_storage_is_the_one_of_the_backup(
    storages: Storages, tmp_path: Path, source: str, appended: Appended, events: Events, later: Change
) -> None:
    """Items in their order, removals, patches, vectors of all bundles, sessions; and it goes on as the other does."""

    async def run() -> None:
        first = storages.new(source)
        await fill(first, appended, events)
        backup = await write_backup(first, tmp_path / "backup.zip", Progress())
        before = await state_of(first, SESSIONS, [later])
        removed = sum(kept.removed for _, kept in before.items["b1"])
        counts = (backup.manifest.items, backup.manifest.removed, backup.manifest.sessions)
        assert counts == (len(before.items["b1"]) - removed, removed, len(before.sessions))
        for target in KINDS:
            second = storages.new(target)
            restored = await restore_backup(second, backup.path, replace=False, progress=Progress())
            assert restored.sessions == len(before.sessions)
            assert same(before, await state_of(second, SESSIONS, [later]))

    asyncio.run(run())


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_vectors_of_other_bundles_come_along(storages: Storages, tmp_path: Path, source: str, target: str) -> None:
    """So that a restored catalogue embeds nothing again; those of bundles not used for long go first, as before."""

    async def run() -> None:
        first, second = storages.new(source), storages.new(target)
        item = put("a", 1)
        async with open_storage(first, 10) as storage:
            await storage.items.append([item])
            for bundle_id in ("b2", "b3"):
                await storage.items.attach(DictFollower(bundle_id))
                vector = np.array([int(bundle_id[1:])], dtype=np.float32)
                await storage.items.keep_vectors(bundle_id, {"a": (item.attributes_json, vector)})
        restored = await copied(first, second, tmp_path)
        assert restored.manifest.bundles == ("b1", "b2", "b3")
        async with open_storage(second, 10) as storage:
            for bundle_id, vector in (("b1", (1.0, -1.0)), ("b2", (2.0,)), ("b3", (3.0,))):
                follower = DictFollower(bundle_id)
                await storage.items.attach(follower)
                assert follower.items["a"].vector == vector

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", ["items", "sessions"])
def test_storage_that_holds_something_is_refused(storages: Storages, tmp_path: Path, kind: str, held: str) -> None:
    """And stays as it was; with `replace` what it held is gone, sessions too."""

    async def run() -> None:
        source, target = storages.new("sqlite"), storages.new(kind)
        await fill(source, [[put("new")]], [("s", ["new"])])
        await fill(target, [[put("old")]] if held == "items" else [], [("old", ["x"])] if held == "sessions" else [])
        before = await state_of(target, ("s", "old"))
        with pytest.raises(BackupError, match=r"already; --replace"):
            await copied(source, target, tmp_path)
        assert same(await state_of(target, ("s", "old")), before)

        await copied(source, target, tmp_path, replace=True)
        after = await state_of(target, ("s", "old"))
        assert [item_id for item_id, _ in after.items["b1"]] == ["new"]
        assert list(after.sessions) == ["s"]

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_keep_the_time_they_had_left(storages: Storages, tmp_path: Path, kind: str) -> None:
    """Not a new one; those that ended between backup and restore are not restored."""

    async def run() -> None:
        source, target = replace_ttl(storages.new(kind), 1000), storages.new(kind)
        await fill(source, [], [("s", ["a"])])
        await fill(replace_ttl(source, 1), [], [("ending", ["a"])])
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        assert backup.manifest.sessions == 2
        while (await state_of(source, ("ending",))).sessions:  # noqa: ASYNC110 - another process forgets it
            await asyncio.sleep(0.05)
        restored = await restore_backup(target, backup.path, replace=False, progress=Progress())
        assert restored.sessions == 1
        sessions = (await state_of(target, ("s", "ending"))).sessions
        assert list(sessions) == ["s"]
        assert 800 < sessions["s"][1] <= 1000

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_deleted_is_not_in_the_file(storages: Storages, tmp_path: Path, kind: str) -> None:
    """Neither a removed item's texts nor a session that has ended: only SQLite's free pages keep these."""

    async def run() -> None:
        source = storages.new(kind)
        secret = put("removed", attributes_json=json.dumps({"title": "forget-me " * 1000}))
        await fill(source, [[put("a"), secret], [RemoveItem("removed")]], [("s", ["a"])])
        await fill(replace_ttl(source, 1), [], [("ended", ["forget-me"] * 500)])
        if kind == "sqlite":
            for name in ("catalogue", "sessions"):
                leave_deleted(source.state_dir / f"{name}.sqlite3", b"forget-me " * 1000)
        while (await state_of(source, ("ended",))).sessions:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.05)
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        assert (backup.manifest.items, backup.manifest.removed, backup.manifest.sessions) == (1, 1, 1)
        with zipfile.ZipFile(backup.path) as archive:
            assert [name for name in archive.namelist() if b"forget-me" in archive.read(name)] == []

    asyncio.run(run())


def leave_deleted(path: Path, content: bytes) -> None:
    """Leave deleted bytes in a database's free pages, as SQLite does unless it was built to overwrite them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE other (content BLOB)")
        connection.execute("INSERT INTO other VALUES (?)", (content,))
        connection.execute("DROP TABLE other")
    assert content[:100] in path.read_bytes()


def test_restore_into_redis_leaves_no_file_if_killed(
    storages: Storages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The databases that it reads have no name any more while Redis is written."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    told: list[str] = []

    class Looking(Progress):
        def tell(self, what: str, done: int, total: int | None = None) -> None:
            told.append(f"{what}: {done} of {total}, {len(list(temporary.rglob('*')))} files")

    async def run() -> None:
        source, target = storages.new("sqlite"), storages.new("redis")
        await fill(source, [[put("a"), put("b")], [RemoveItem("b")]], [("s", ["a"])])
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        await restore_backup(target, backup.path, replace=False, progress=Looking())
        assert told[-2:] == ["items written: 2 of 2, 0 files", "sessions written: 1 of 1, 0 files"]

    asyncio.run(run())


def replace_ttl(setup: Settings, seconds: int) -> Settings:
    return setup.model_copy(update={"session_ttl_seconds": seconds})


def test_empty_redis_gives_an_empty_backup(storages: Storages, tmp_path: Path) -> None:
    """A shop that has added nothing yet is no error."""

    async def run() -> None:
        restored = await copied(storages.new("redis"), storages.new("redis"), tmp_path)
        assert (restored.manifest.items, restored.manifest.sessions, restored.manifest.bundles) == (0, 0, ())

    asyncio.run(run())


def test_state_folder_without_state_is_refused(storages: Storages, tmp_path: Path) -> None:
    """Else a misspelt folder would be backed up as an empty one, every night."""
    with pytest.raises(BackupError, match="holds no state of a service"):
        asyncio.run(write_backup(storages.new("sqlite"), tmp_path / "backup.zip", Progress()))
    assert not (tmp_path / "backup.zip").exists()


def test_replicas_follow_a_restore(storages: Storages, tmp_path: Path) -> None:
    """A running follower, empty or not, ends up with the restored state, and hears of what is put afterwards."""

    async def run() -> None:
        source, target = storages.new("sqlite"), storages.new("redis")
        await fill(source, [[put(f"i{number}", number) for number in range(5)], [RemoveItem("i3")]])
        expected = (await state_of(source)).items["b1"]
        async with open_storage(target, 10) as storage:
            follower = DictFollower()
            await storage.items.attach(follower)
            for before in ([], [put("old"), put("i1", 9)]):
                if before:
                    await storage.items.append(before)
                await copied(source, target, tmp_path, replace=True)
                while list(follower.items.items()) != expected:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            await storage.items.append([put("after")])
            assert list(follower.items) == ["i0", "i1", "i2", "i3", "i4", "after"]

    asyncio.run(run())


def test_killed_restore_leaves_keys_that_the_next_one_drops(storages: Storages, tmp_path: Path) -> None:
    """While the lock of the killed one lasts, others are refused; no key of a restore is left at the end."""

    async def run() -> None:
        source, target = storages.new("sqlite"), storages.new("redis")
        await fill(source, [[put("a")]])
        prefix = target.redis_prefix
        redis = connect(target)
        left = [f"{{{prefix}}}:restore:1:attributes", f"{prefix}:restore:1:session:s"]
        for key in left:
            await redis.set(key, 1)
        await redis.set(f"{{{prefix}}}:restore-lock", "killed")
        with pytest.raises(BackupError, match="another restore"):
            await copied(source, target, tmp_path)
        assert await redis.exists(*left) == 2
        await redis.delete(f"{{{prefix}}}:restore-lock")
        await copied(source, target, tmp_path)
        assert [key async for key in redis.scan_iter(f"*{prefix}*restore*")] == []
        assert await redis.ttl(f"{{{prefix}}}:catalogue:attributes") == -1
        await redis.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("part", ["vectors:b1", "order", "new-sessions"])
def test_key_that_redis_drops_on_the_way_ends_a_restore(storages: Storages, tmp_path: Path, part: str) -> None:
    """As `volatile-lru` does when the memory is full; what was there stays, and the lock is given back."""

    async def run() -> None:
        source, target = storages.new("sqlite"), storages.new("redis")
        await fill(source, [[put("new")]], [("s", ["new"])])
        await fill(target, [[put("old")]])
        backup = await write_backup(source, tmp_path / "backup.zip", Progress())
        redis = connect(target)

        class Dropping(Progress):
            def tell(self, what: str, done: int, total: int | None = None) -> None:
                if what == "sessions written":
                    with server_of(target) as client:
                        assert client.delete(*client.keys(f"*{target.redis_prefix}*:restore:*:{part}")) == 1

        with pytest.raises(BackupError, match="Redis has dropped keys of this restore"):
            await restore_backup(target, backup.path, replace=True, progress=Dropping())
        assert [item_id for item_id, _ in (await state_of(target)).items["b1"]] == ["old"]
        assert [key async for key in redis.scan_iter(f"*{target.redis_prefix}*restore*")] == []
        await redis.aclose()

    asyncio.run(run())


def server_of(setup: Settings) -> Redis:
    assert setup.redis_url is not None
    return Redis.from_url(setup.redis_url.get_secret_value())
