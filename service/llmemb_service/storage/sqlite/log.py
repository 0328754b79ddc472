"""The item log of one process, in SQLite: its tables, and durable writes."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Array, Change, Follower, ItemState, PatchItem, PutItem
from llmemb_service.storage.item_log import Followers
from llmemb_service.storage.sqlite import log
from llmemb_service.storage.sqlite.file import SqliteReader, SqliteWriter

FORMAT = 2
"""Stored in SQLite's `user_version`. Format 1 had one vector per item, and neither categories nor removals."""
KEPT_BUNDLES = 4
"""Bundles whose vectors are kept: the current one, the previous one, an experiment's, and one that is being loaded."""
_ROWS_AT_ONCE = 1000

_CREATE = (
    """
    CREATE TABLE items (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        attributes TEXT,
        categories TEXT,
        available INTEGER,
        removed INTEGER NOT NULL
    )
    """,
    "CREATE TABLE bundles (id TEXT NOT NULL UNIQUE, used INTEGER PRIMARY KEY)",
    """
    CREATE TABLE vectors (
        bundle_id TEXT NOT NULL,
        item_id TEXT NOT NULL,
        semantic BLOB NOT NULL,
        PRIMARY KEY (bundle_id, item_id)
    )
    """,
    "CREATE INDEX vectors_of_item ON vectors (item_id)",
)
_FROM_FORMAT_1 = (
    "ALTER TABLE items RENAME TO items_1",
    *_CREATE,
    "INSERT INTO items SELECT position, id, attributes, NULL, NULL, 0 FROM items_1",
    "INSERT INTO bundles (id) SELECT DISTINCT bundle_id FROM items_1 ORDER BY bundle_id",
    "INSERT INTO vectors SELECT bundle_id, id, semantic FROM items_1 ORDER BY position",
    "DROP TABLE items_1",
)
_UPSERT = """
INSERT INTO items (id, attributes, categories, available, removed) VALUES (?, ?, ?, ?, 0)
ON CONFLICT (id) DO UPDATE SET
    attributes = coalesce(excluded.attributes, attributes), categories = coalesce(excluded.categories, categories),
    available = coalesce(excluded.available, available), removed = 0
"""
_PATCH = f"{_UPSERT} WHERE removed = 0"
_REMOVE = """
INSERT INTO items (id, removed) VALUES (?, 1)
ON CONFLICT (id) DO UPDATE SET attributes = NULL, categories = NULL, available = NULL, removed = 1
"""
_FORGET_VECTORS = "DELETE FROM vectors WHERE item_id = ?"
_FORGET_STALE_VECTORS = """
DELETE FROM vectors WHERE item_id = ? AND NOT EXISTS (SELECT 1 FROM items WHERE id = ? AND attributes = ?)
"""
_KEEP_VECTOR = """
INSERT OR REPLACE INTO vectors (bundle_id, item_id, semantic)
SELECT ?, id, ? FROM items WHERE id = ? AND attributes = ?
"""
_READ = """
SELECT id, attributes, categories, available, removed, semantic
FROM items LEFT JOIN vectors ON vectors.bundle_id = ? AND vectors.item_id = items.id
ORDER BY position
"""
_UNUSED_BUNDLES = f"SELECT id FROM bundles ORDER BY used DESC LIMIT -1 OFFSET {KEPT_BUNDLES}"  # noqa: S608  # a number


def prepare_catalogue(connection: sqlite3.Connection) -> None:
    """Create the tables, or migrate those of format 1, in the open transaction.

    Raises:
        ConfigError: a later version of the program wrote them.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, 1, FORMAT}:
        raise ConfigError(f"the catalogue's database has format {version}, this program reads up to {FORMAT}")
    for statement in {0: _CREATE, 1: _FROM_FORMAT_1, FORMAT: ()}[version]:
        connection.execute(statement)
    mark_format(connection)


def mark_format(connection: sqlite3.Connection) -> None:
    """Write the format's number. In an existing file this checks that the file can be written."""
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def write_changes(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[Change]:
    """Write changes and return those that had an effect: patches of removed items have none."""
    return [change for change in changes if _write(connection, change)]


def _write(connection: sqlite3.Connection, change: Change) -> bool:
    if isinstance(change, PutItem):
        connection.execute(_FORGET_STALE_VECTORS, (change.id, change.id, change.attributes_json))
        connection.execute(_UPSERT, (change.id, change.attributes_json, *_filter_columns(change)))
        embedded = change.embedded
        write_vectors(connection, embedded.bundle_id, {change.id: (change.attributes_json, embedded.vector)})
        return True
    if isinstance(change, PatchItem):
        return connection.execute(_PATCH, (change.id, None, *_filter_columns(change))).rowcount > 0
    connection.execute(_REMOVE, (change.id,))
    connection.execute(_FORGET_VECTORS, (change.id,))
    return True


def _filter_columns(change: PutItem | PatchItem) -> tuple[str | None, bool | None]:
    categories = None if change.categories is None else json.dumps(change.categories, ensure_ascii=False)
    return categories, change.available


def write_vectors(connection: sqlite3.Connection, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
    """Store a bundle's vectors `(D,)`, given as id -> attributes' JSON and vector; skip items with other attributes."""
    connection.execute("INSERT OR IGNORE INTO bundles (id) VALUES (?)", (bundle_id,))
    connection.executemany(
        _KEEP_VECTOR,
        [
            (bundle_id, vector.astype("<f4").tobytes(), item_id, attributes_json)
            for item_id, (attributes_json, vector) in vectors.items()
        ],
    )


def use_bundle(connection: sqlite3.Connection, bundle_id: str) -> None:
    """Mark a bundle as the most recently used one."""
    connection.execute(
        "INSERT OR REPLACE INTO bundles (id, used) SELECT ?, coalesce(max(used), 0) + 1 FROM bundles", (bundle_id,)
    )


def forget_unused_bundle(connection: sqlite3.Connection) -> bool:
    """Delete some vectors of a bundle that is beyond the `KEPT_BUNDLES`; return false if there is no such bundle."""
    bundle_id = connection.execute(_UNUSED_BUNDLES).fetchone()
    if bundle_id is None:
        return False
    batch = "SELECT rowid FROM vectors WHERE bundle_id = ? LIMIT 500"
    deleted = connection.execute(f"DELETE FROM vectors WHERE rowid IN ({batch})", bundle_id)  # noqa: S608  # a constant
    if deleted.rowcount == 0:
        connection.execute("DELETE FROM bundles WHERE id = ?", bundle_id)
    return True


def read_states(connection: sqlite3.Connection, bundle_id: str) -> list[ItemState]:
    """Return the stored state of every changed item, with a bundle's vectors, in the order of the first changes."""
    states: list[ItemState] = []
    rows = connection.execute(_READ, (bundle_id,))
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        states += [
            ItemState(
                id=item_id,
                attributes_json=attributes_json,
                categories=None if categories is None else tuple(json.loads(categories)),
                available=None if available is None else bool(available),
                removed=bool(removed),
                vector=None if semantic is None else np.frombuffer(semantic, dtype="<f4"),
            )
            for item_id, attributes_json, categories, available, removed, semantic in some
        ]
    return states


_VECTORS_AT_ONCE = 500


class SqliteItemLog:
    """See `ItemLog`. The file has the state of each changed item; the changes themselves are not stored.

    Args:
        path: the file; created if it does not exist.

    Raises:
        ConfigError: the file cannot be opened, is not a database of the service, or a later version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._writer = SqliteWriter(path, log.prepare_catalogue)
        self._reader = SqliteReader(path)
        self._followers = Followers()
        self._forgetting: set[asyncio.Task[None]] = set()

    async def append(self, changes: Sequence[Change]) -> None:
        """See `ItemLog`."""
        await self._writer.write(
            lambda connection: log.write_changes(connection, changes),
            rows=len(changes),
            on_commit=self._followers.notify,
        )

    async def attach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        bundle_id = follower.bundle_id

        async def read() -> list[ItemState]:
            return await self._reader.read(lambda connection: log.read_states(connection, bundle_id))

        await self._followers.attach(follower, read)
        self._forgetting.add(task := asyncio.create_task(self._forget_unused_bundles(bundle_id)))
        task.add_done_callback(self._forgetting.discard)

    def detach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        self._followers.detach(follower)

    async def keep_vectors(self, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """See `ItemLog`."""
        entries = list(vectors.items())
        for start in range(0, len(entries), _VECTORS_AT_ONCE):
            batch = dict(entries[start : start + _VECTORS_AT_ONCE])
            await self._writer.write(partial(log.write_vectors, bundle_id=bundle_id, vectors=batch))

    async def fault(self) -> str | None:
        """See `ItemLog`."""
        try:
            await self._writer.write(log.mark_format)
        except StorageError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """See `ItemLog`."""
        for task in tuple(self._forgetting):
            task.cancel()
        await self._writer.close()
        await self._reader.close()

    async def _forget_unused_bundles(self, used: str) -> None:
        """Delete vectors in small batches, so that other writes do not wait long; after a failure `attach` retries."""
        with contextlib.suppress(StorageError):
            await self._writer.write(partial(log.use_bundle, bundle_id=used))
            while await self._writer.write(log.forget_unused_bundle):
                pass
