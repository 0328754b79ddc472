"""One SQLite file: one thread writes it, and waiting writes share a commit; another reads it."""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llmemb.errors import ConfigError
from service.errors import StorageError

T = TypeVar("T")


class SqliteReader:
    """Reads see what was committed when they began; they wait for no write."""

    def __init__(self, path: Path) -> None:
        # One thread, so that one connection is enough.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"read-{path.stem}")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA query_only = ON")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the reading thread and return what it gives.

        Raises:
            StorageError: the file cannot be read.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._connection)
        except sqlite3.Error as error:
            raise StorageError("this cannot be read from disk now") from error

    async def close(self) -> None:
        """Wait for the reads that run, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()


Work = Callable[[sqlite3.Connection], T]
Told = Callable[[T], None]

MAX_WAITING_ROWS = 16_384
"""Rows that may wait to be written; past it a write is refused. One write may be larger, if it waits alone."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Write:
    """A write on its way: `run` gives what `finish` hands over on the event loop once it is on disk."""

    run: Work[object]
    rows: int
    finish: Callable[[object], None]
    fail: Callable[[StorageError], None]


class SqliteWriter:
    """Writes to one file, in the order in which they were asked for.

    Args:
        path: the file; it is made where it is missing.
        prepare: brings the open file to the present format, in a transaction of its own.

    Raises:
        ConfigError: the file cannot be opened or is no database of ours.
    """

    def __init__(self, path: Path, prepare: Work[None]) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._open(prepare)
        except sqlite3.Error as error:
            raise ConfigError(f"{path} cannot be opened as a database of the service: {error}") from error
        self._waiting: deque[_Write] = deque()
        self._rows_waiting = 0
        self._wake = threading.Condition()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"write-{path.stem}", daemon=True)
        self._thread.start()

    def _open(self, prepare: Work[None]) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        # macOS gives a plain fsync back before the disk has it; elsewhere this does nothing.
        self._connection.execute("PRAGMA fullfsync = ON")
        self._connection.execute("BEGIN IMMEDIATE")
        prepare(self._connection)
        self._connection.execute("COMMIT")

    async def write(self, work: Work[T], *, rows: int = 1, told: Told[T] | None = None) -> T:
        """Run `work` in a transaction and return what it gives once that is on disk.

        Args:
            work: runs in the writer's thread; where it raises, it alone is rolled back.
            rows: about how many rows it writes.
            told: called with what `work` gave, on the event loop, in the order of the commits, even when the caller
                of `write` has gone away meanwhile.

        Raises:
            StorageError: nothing of it was acknowledged.
        """
        done: asyncio.Future[T] = self._loop.create_future()

        def finish(given: object) -> None:
            value: T = given  # type: ignore[assignment]  # the queue holds writes of every type
            try:
                if told is not None:
                    told(value)
            finally:
                # It is on disk, whatever those who were told made of it.
                if not done.done():
                    done.set_result(value)

        def fail(error: StorageError) -> None:
            if not done.done():
                done.set_exception(error)

        self._queue(_Write(work, rows, finish, fail))
        return await done

    def _queue(self, write: _Write) -> None:
        with self._wake:
            if self._closing:
                raise StorageError("the service stops; nothing was written")
            if self._waiting and self._rows_waiting + write.rows > MAX_WAITING_ROWS:
                raise StorageError("too much waits to be written; nothing was written")
            self._waiting.append(write)
            self._rows_waiting += write.rows
            self._wake.notify()

    async def close(self) -> None:
        """Write what waits, and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._take():
            self._write_group(group)
        self._connection.close()

    def _take(self) -> list[_Write]:
        """All that waits; nothing once the writer closes and nothing is left."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closing)
            group = list(self._waiting)
            self._waiting.clear()
            self._rows_waiting = 0
            return group

    def _write_group(self, group: list[_Write]) -> None:
        try:
            outcomes = self._commit(group)
        except sqlite3.Error as error:
            logger.error("%s cannot be written: %s", self._path.name, error)  # noqa: TRY400  # no traceback of ours helps
            self._roll_back()
            outcomes = [StorageError("this cannot be put on disk now; nothing was acknowledged")] * len(group)
        for write, outcome in zip(group, outcomes, strict=True):
            # One callback each, which the loop runs in this order: a failing one keeps nobody else waiting.
            if isinstance(outcome, StorageError):
                self._loop.call_soon_threadsafe(write.fail, outcome)
            else:
                self._loop.call_soon_threadsafe(write.finish, outcome)

    def _commit(self, group: list[_Write]) -> list[object]:
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes = [self._savepoint(write) for write in group]
        self._connection.execute("COMMIT")
        return outcomes

    def _savepoint(self, write: _Write) -> object:
        """What the write gave, or why it alone failed."""
        self._connection.execute("SAVEPOINT one")
        try:
            given = write.run(self._connection)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            if not self._connection.in_transaction:
                # A full disk takes the whole transaction back, and with it the writes before this one.
                raise
            logger.error("a write to %s failed: %s", self._path.name, error)  # noqa: TRY400  # as above
            self._connection.execute("ROLLBACK TO one")
            given = StorageError("this cannot be put on disk now; nothing was written")
        self._connection.execute("RELEASE one")
        return given

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
