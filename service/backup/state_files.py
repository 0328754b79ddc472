"""A catalogue and sessions as SQLite files in a folder of our own: what a backup is written from and restored to."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from service.backup.records import KeptItem, KeptSession
from service.storage import sqlite_catalogue, sqlite_sessions
from service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE

_INSERT_ITEM = "INSERT INTO items (id, attributes, categories, available, removed) VALUES (?, ?, ?, ?, ?)"
_INSERT_VECTOR = "INSERT INTO vectors (bundle_id, item_id, semantic) VALUES (?, ?, ?)"
_INSERT_SESSION = "INSERT OR REPLACE INTO sessions (id, history, expires) VALUES (?, ?, ?)"
_READ_ITEMS = """
SELECT position, items.id, attributes, categories, available, removed, bundle_id, semantic
FROM items LEFT JOIN vectors ON vectors.item_id = items.id ORDER BY position
"""
_DROP_OTHER_VECTORS = "DELETE FROM vectors WHERE bundle_id NOT IN (SELECT id FROM bundles)"


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The two files, open, each in a transaction."""

    catalogue: sqlite3.Connection
    sessions: sqlite3.Connection

    def add_items(self, items: Iterable[KeptItem]) -> None:
        """Add items after those that are there."""
        for item in items:
            categories = None if item.categories is None else json.dumps(item.categories, ensure_ascii=False)
            row = (item.id, item.attributes_json, categories, item.available, item.removed)
            self.catalogue.execute(_INSERT_ITEM, row)
            self.catalogue.executemany(
                _INSERT_VECTOR, [(bundle, item.id, vector) for bundle, vector in item.vectors.items()]
            )

    def items(self) -> Iterator[KeptItem]:
        """Return all items, in the order of their first change, with the vectors of all bundles."""
        for _, rows in groupby(self.catalogue.execute(_READ_ITEMS), key=lambda row: row[0]):
            of_item = list(rows)
            _, item_id, attributes_json, categories, available, removed, _, _ = of_item[0]
            yield KeptItem(
                id=item_id,
                attributes_json=attributes_json,
                categories=None if categories is None else tuple(json.loads(categories)),
                available=None if available is None else bool(available),
                removed=bool(removed),
                vectors={bundle: vector for *_, bundle, vector in of_item if bundle is not None},
            )

    def set_bundles(self, bundles: Sequence[str]) -> None:
        """Make these the bundles whose vectors are kept, the one used last at the end, and drop the others'."""
        self.catalogue.execute("DELETE FROM bundles")
        self.catalogue.executemany("INSERT INTO bundles (id) VALUES (?)", [(bundle,) for bundle in bundles])
        self.catalogue.execute(_DROP_OTHER_VECTORS)

    def bundles(self) -> tuple[str, ...]:
        """Return the bundles whose vectors are kept, the one used last at the end."""
        return tuple(bundle for (bundle,) in self.catalogue.execute("SELECT id FROM bundles ORDER BY used"))

    def add_sessions(self, sessions: Iterable[KeptSession]) -> None:
        """Add sessions; one that is there already is replaced."""
        self.sessions.executemany(
            _INSERT_SESSION,
            ((session.id, json.dumps(session.history, ensure_ascii=False), session.expires) for session in sessions),
        )

    def read_sessions(self, after: float) -> Iterator[KeptSession]:
        """Return the sessions that are kept beyond a time."""
        for session_id, history, expires in self.sessions.execute(
            "SELECT id, history, expires FROM sessions WHERE expires > ?", (after,)
        ):
            yield KeptSession(session_id, tuple(json.loads(history)), expires)

    def counts(self, after: float) -> tuple[int, int, int]:
        """Return how many items there are, how many are removed, and how many sessions are kept beyond a time."""
        every, removed = self.catalogue.execute("SELECT count(*), coalesce(sum(removed), 0) FROM items").fetchone()
        (sessions,) = self.sessions.execute("SELECT count(*) FROM sessions WHERE expires > ?", (after,)).fetchone()
        return every - removed, removed, sessions


@contextmanager
def open_state_files(folder: Path) -> Iterator[StateFiles]:
    """Open the files in a folder that nobody else uses; made where missing, brought to the present format where old.

    When the block ends without an error each is one whole file, on disk. After an error they are good for nothing.

    Raises:
        ConfigError: a later program wrote them.
        sqlite3.Error: they cannot be written, or are no databases.
    """
    with ExitStack() as stack:
        catalogue = stack.enter_context(_open(folder / CATALOGUE_FILE))
        sessions = stack.enter_context(_open(folder / SESSIONS_FILE))
        sqlite_catalogue.prepare(catalogue)
        sqlite_sessions.prepare(sessions)
        yield StateFiles(catalogue, sessions)
        for connection in (catalogue, sessions):
            connection.execute("COMMIT")
    for name in (CATALOGUE_FILE, SESSIONS_FILE):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Neither undone nor recovered: a file that was not finished is thrown away. Out of WAL first.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
