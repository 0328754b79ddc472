"""One SQLite file: a writer thread, which commits all waiting writes together, and a reader thread."""

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
from llmemb_service.errors import StorageError

T = TypeVar("T")


class SqliteReader:
    """Reads see the state that was committed when they began; they do not wait for writes."""

    def __init__(self, path: Path) -> None:
        # One thread, so that one connection is enough.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"read-{path.stem}")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA query_only = ON")

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the reader thread and return its result.

        Raises:
            StorageError: the file cannot be read.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._connection)
        except sqlite3.Error as error:
            raise StorageError("the disk cannot be read now") from error

    async def close(self) -> None:
        """Wait for running reads, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()


Work = Callable[[sqlite3.Connection], T]
OnCommit = Callable[[T], None]

MAX_WAITING_ROWS = 16_384
"""Maximum number of rows that wait to be written; further writes are refused. A single write may be larger."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Write:
    """A queued write: once the transaction is on disk, `finish` gets the result of `run` on the event loop."""

    run: Work[object]
    rows: int
    finish: Callable[[object], None]
    fail: Callable[[StorageError], None]


class SqliteWriter:
    """Writes to one file, in the order of the calls.

    Args:
        path: the file; created if it does not exist.
        prepare: migrates the open file to the current format, in its own transaction.

    Raises:
        ConfigError: the file cannot be opened, or is not a database of the service.
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
        # On macOS a plain fsync returns before the data is on disk; on other systems this has no effect.
        self._connection.execute("PRAGMA fullfsync = ON")
        self._connection.execute("BEGIN IMMEDIATE")
        prepare(self._connection)
        self._connection.execute("COMMIT")

    async def write(self, work: Work[T], *, rows: int = 1, on_commit: OnCommit[T] | None = None) -> T:
        """Run `work` in a transaction, and return its result once the transaction is on disk.

        Args:
            work: runs in the writer thread; if it raises, only its own changes are rolled back.
            rows: approximate number of rows it writes.
            on_commit: called with the result of `work`, on the event loop, in the order of the commits, even if the
                caller of `write` was cancelled.

        Raises:
            StorageError: the write was not acknowledged.
        """
        done: asyncio.Future[T] = self._loop.create_future()

        def finish(given: object) -> None:
            value: T = given  # type: ignore[assignment]  # the queue holds writes of every type
            try:
                if on_commit is not None:
                    on_commit(value)
            finally:
                # The data is on disk, even if `on_commit` failed.
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
                raise StorageError("the service is shutting down; nothing was written")
            if self._waiting and self._rows_waiting + write.rows > MAX_WAITING_ROWS:
                raise StorageError("the write queue is full; nothing was written")
            self._waiting.append(write)
            self._rows_waiting += write.rows
            self._wake.notify()

    async def close(self) -> None:
        """Finish the queued writes, and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._next_group():
            self._write_group(group)
        self._connection.close()

    def _next_group(self) -> list[_Write]:
        """Wait for writes and return all that are queued; return an empty list when the writer is closed."""
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
            logger.error("%s cannot be written: %s", self._path.name, error)  # noqa: TRY400  # a traceback does not help
            self._roll_back()
            outcomes = [StorageError("the disk cannot be written now; nothing was acknowledged")] * len(group)
        for write, outcome in zip(group, outcomes, strict=True):
            # One callback per write, which the loop runs in this order: a failing one does not affect the others.
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
        """Run one write in a savepoint, and return its result or the error of this write."""
        self._connection.execute("SAVEPOINT one")
        try:
            given = write.run(self._connection)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            if not self._connection.in_transaction:
                # On a full disk SQLite rolls the whole transaction back, with the writes before this one.
                raise
            logger.error("a write to %s failed: %s", self._path.name, error)  # noqa: TRY400  # as above
            self._connection.execute("ROLLBACK TO one")
            given = StorageError("the disk cannot be written now; nothing was written")
        self._connection.execute("RELEASE one")
        return given

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
