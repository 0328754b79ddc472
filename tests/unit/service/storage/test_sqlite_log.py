import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.storage.sqlite.file import MAX_WAITING_ROWS
from llmemb_service.storage.sqlite.log import FORMAT, SqliteItemLog
from tests.support.item_log import DictFollower, Kept, put

FORMAT_1 = """
CREATE TABLE IF NOT EXISTS items (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    semantic BLOB NOT NULL,
    bundle_id TEXT NOT NULL
)
"""


async def held(log: SqliteItemLog, bundle_id: str = "b1") -> dict[str, Kept]:
    follower = DictFollower(bundle_id)
    await log.attach(follower)
    return follower.items


def test_log_reads_a_file_of_format_1(tmp_path: Path) -> None:
    """Items keep their order, and a vector is that of the bundle that gave it."""
    path = tmp_path / "catalogue.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute(FORMAT_1)
        for item_id, bundle_id in (("z", "b1"), ("a", "b2")):
            vector = np.array([0.1, 2], dtype="<f4").tobytes()
            old.execute(
                "INSERT INTO items (id, attributes, semantic, bundle_id) VALUES (?, ?, ?, ?)",
                (item_id, '{"title":"Être"}', vector, bundle_id),
            )
        old.execute("PRAGMA user_version = 1")
        old.commit()

    async def run() -> None:
        for _ in range(2):
            log = SqliteItemLog(path)
            first, second = await held(log, "b1"), await held(log, "b2")
            await log.close()
            vector = tuple(np.array([0.1, 2], dtype=np.float32).tolist())
            assert list(first.items()) == [
                ("z", Kept('{"title":"Être"}', vector=vector)),
                ("a", Kept('{"title":"Être"}')),
            ]
            assert [kept.vector for kept in second.values()] == [None, vector]

    asyncio.run(run())
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (FORMAT,)


def test_log_is_safe_against_a_crash_of_the_machine(tmp_path: Path) -> None:
    """A write-ahead log, and each commit on disk before it returns."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "s")
        connection = log._writer._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        await log.close()

    asyncio.run(run())


def test_log_writes_what_waits_in_one_transaction(tmp_path: Path) -> None:
    """Changes that come while another is written share the next commit."""

    async def run() -> int:
        log = SqliteItemLog(tmp_path / "s")
        statements: list[str] = []
        log._writer._connection.set_trace_callback(statements.append)
        await asyncio.gather(*(log.append([put(f"i{number}")]) for number in range(200)))
        assert len(await held(log)) == 200
        await log.close()
        return statements.count("COMMIT")

    # How many go together is the machine's affair, but never one by one.
    assert asyncio.run(run()) < 100


def test_log_lets_a_failing_append_fail_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of it, while what shares its transaction is written."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "s")
        appends = [[put("a")], [put("b"), put("\ud800")], [put("c")]]
        outcomes = await asyncio.gather(*(log.append(some) for some in appends), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), StorageError, type(None)]
        assert list(await held(log)) == ["a", "c"]
        await log.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert "a write to s failed" in caplog.text


def test_log_on_a_full_disk_acknowledges_nothing_and_recovers(tmp_path: Path) -> None:
    """Followers hear of nothing; when there is room again the next append works."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "s")
        follower = DictFollower()
        await log.attach(follower)
        await log.append([put("a")])
        connection = log._writer._connection
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        big = [put(f"i{number}", attributes_json="x" * 5000) for number in range(10)]
        with pytest.raises(StorageError):
            await log.append(big)
        assert list(follower.items) == list(await held(log)) == ["a"]

        connection.execute("PRAGMA max_page_count = 100000")
        await log.append(big)
        assert len(follower.items) == 11
        assert await held(log) == follower.items
        await log.close()

    asyncio.run(run())


def test_log_that_cannot_write_says_so(tmp_path: Path) -> None:
    """Another program holds the file's write lock: nothing was added, readiness knows, and reading still works."""
    path = tmp_path / "s"

    async def run() -> None:
        log = SqliteItemLog(path)
        log._writer._connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError):
                await log.append([put("a")])
            assert "disk cannot be written" in (await log.fault() or "")
            assert await held(log) == {}
        assert await log.fault() is None
        await log.close()

    asyncio.run(run())


def test_log_takes_in_no_more_than_it_can_write(tmp_path: Path) -> None:
    """What waits is bounded; what was refused was not written."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "s")
        log._writer._connection.execute("PRAGMA busy_timeout = 60000")
        with closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            many = [put(f"i{number}") for number in range(MAX_WAITING_ROWS // 2)]
            waiting = [asyncio.create_task(log.append(some)) for some in ([put("a")], many, many, many, [put("b")])]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            assert "the write queue is full" in str(next(iter(done)).exception())
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(outcome, StorageError) for outcome in outcomes)
        assert "a" in await held(log)
        await log.close()
        with pytest.raises(StorageError, match="shutting down"):
            await log.append([put("c")])

    asyncio.run(run())


@pytest.mark.parametrize("version", [None, FORMAT + 1])
def test_log_refuses_a_file_that_is_not_its_own(tmp_path: Path, version: int | None) -> None:
    """No database, or one of a later program."""
    path = tmp_path / "s"
    if version is None:
        path.write_bytes(b"x" * 5000)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA user_version = {version}")

    async def run() -> None:
        SqliteItemLog(path)

    with pytest.raises(ConfigError, match=str(path) if version is None else f"format {version}"):
        asyncio.run(run())
