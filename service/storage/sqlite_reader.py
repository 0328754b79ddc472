"""Reads of a SQLite file in a thread of their own, beside the one that writes it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

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
