"""The items added to the catalogue, in SQLite: what `put` has returned from survives a crash of the machine.

`D` the width of a semantic vector.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import ConfigError
from service.errors import StorageError

Array = NDArray[np.float32]
FORMAT = 1
"""Of the table; SQLite keeps it as `user_version`."""

_CREATE = """
CREATE TABLE IF NOT EXISTS items (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    semantic BLOB NOT NULL,
    bundle_id TEXT NOT NULL
)
"""
_PUT = """
INSERT INTO items (id, attributes, semantic, bundle_id) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    attributes = excluded.attributes, semantic = excluded.semantic, bundle_id = excluded.bundle_id
"""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An added item: its semantic vector `(D,)` float32 is that of `bundle_id`."""

    id: str
    attributes_json: str
    semantic: Array
    bundle_id: str


class ItemStore:
    """The table of added items; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it where it is missing.

        Raises:
            ConfigError: the file is no database of ours.
        """
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, FORMAT}:
                raise ConfigError(f"{path} has format {version}, this program reads {FORMAT}")
            self._connection.execute(_CREATE)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise ConfigError(f"{path} cannot be opened as the catalogue's database: {error}") from error

    def read_all(self) -> list[StoredItem]:
        """Return every item in the order of its first addition."""
        rows = self._connection.execute("SELECT id, attributes, semantic, bundle_id FROM items ORDER BY position")
        return [
            StoredItem(item_id, attributes_json, np.frombuffer(semantic, dtype="<f4"), bundle_id)
            for item_id, attributes_json, semantic, bundle_id in rows
        ]

    def put(self, items: Sequence[StoredItem]) -> None:
        """Add items, or replace those of the same id; on disk, all of them, when this returns.

        Raises:
            StorageError: none of them is on disk.
        """
        rows = [
            (item.id, item.attributes_json, item.semantic.astype("<f4").tobytes(), item.bundle_id) for item in items
        ]
        try:
            # `with` commits, or rolls all of it back.
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_PUT, rows)
        except sqlite3.Error as error:
            raise StorageError("the items cannot be put on disk now; none of them was added") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
