"""Sessions of one process, in SQLite; a monotonic clock decides when they expire."""

import asyncio
import contextlib
import json
import math
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.storage.session_store import Session
from llmemb_service.storage.sqlite import sessions
from llmemb_service.storage.sqlite.file import SqliteReader, SqliteWriter

_BEGAN = time.time() - time.monotonic()


def now() -> float:
    """Return the seconds since 1970, by a clock that does not jump."""
    return _BEGAN + time.monotonic()


FORMAT = 1
"""Format of the table, stored in SQLite's `user_version`."""
SWEEP_SECONDS = 60.0
"""How often expired sessions are deleted; reads ignore a session from the moment it expires."""

_CREATE = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, history TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX sessions_by_end ON sessions (expires)",
)
_READ = "SELECT history, expires FROM sessions WHERE id = ? AND expires > ?"
_PUT = "INSERT OR REPLACE INTO sessions (id, history, expires) VALUES (?, ?, ?)"
_REMOVE = "DELETE FROM sessions WHERE id = ? AND expires > ?"
_SWEEP = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires <= ? LIMIT 500)"


class SqliteSessions:
    """See `SessionStore`.

    Args:
        path: the file; created if it does not exist.
        max_items: maximum number of events per session.
        ttl_seconds: how long a session is kept after its last event.
        sweep_seconds: how often expired sessions are deleted.

    Raises:
        ConfigError: the file cannot be opened, is not a database of the service, or a later version wrote it.
    """

    def __init__(self, path: Path, *, max_items: int, ttl_seconds: int, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds
        self._sweep_seconds = sweep_seconds
        self._writer = SqliteWriter(path, prepare_sessions)
        self._reader = SqliteReader(path)
        self._sweeping = asyncio.create_task(self._sweep())

    async def append(self, session_id: str, item_ids: Sequence[str]) -> Session:
        """See `SessionStore`."""

        def work(connection: sqlite3.Connection) -> Session:
            known = _read(connection, session_id)
            history = ((*known.history, *item_ids) if known is not None else tuple(item_ids))[-self._max_items :]
            row = (session_id, json.dumps(history, ensure_ascii=False), sessions.now() + self._ttl_seconds)
            connection.execute(_PUT, row)
            return Session(history, self._ttl_seconds)

        return await self._writer.write(work)

    async def read(self, session_id: str) -> Session | None:
        """See `SessionStore`."""
        return await self._reader.read(lambda connection: _read(connection, session_id))

    async def remove(self, session_id: str) -> bool:
        """See `SessionStore`."""
        return await self._writer.write(
            lambda connection: connection.execute(_REMOVE, (session_id, sessions.now())).rowcount > 0
        )

    async def fault(self) -> str | None:
        """See `SessionStore`."""
        try:
            await self._writer.write(_mark_format)
        except StorageError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """See `SessionStore`."""
        self._sweeping.cancel()
        await self._writer.close()
        await self._reader.close()

    async def _sweep(self) -> None:
        """Delete expired sessions in small batches, so that other writes do not wait long."""
        while True:
            # If the disk cannot be written, the next sweep tries again.
            with contextlib.suppress(StorageError):
                while await self._writer.write(_delete_some_expired):
                    pass
            await asyncio.sleep(self._sweep_seconds)


def prepare_sessions(connection: sqlite3.Connection) -> None:
    """Create the table if it does not exist, in the open transaction.

    Raises:
        ConfigError: a later version of the program wrote it.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, FORMAT}:
        raise ConfigError(f"the sessions' database has format {version}, this program reads up to {FORMAT}")
    for statement in _CREATE if version == 0 else ():
        connection.execute(statement)
    _mark_format(connection)


def _mark_format(connection: sqlite3.Connection) -> None:
    """Write the format's number. In an existing file this checks that the file can be written."""
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _read(connection: sqlite3.Connection, session_id: str) -> Session | None:
    now = sessions.now()
    row = connection.execute(_READ, (session_id, now)).fetchone()
    return None if row is None else Session(tuple(json.loads(row[0])), math.ceil(row[1] - now))


def _delete_some_expired(connection: sqlite3.Connection) -> int:
    return connection.execute(_SWEEP, (sessions.now(),)).rowcount
