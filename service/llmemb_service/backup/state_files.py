"""The two SQLite databases of a backup, in a folder that no other process uses."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb_service.backup.archive import Archive
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.storage.sqlite.log import prepare_catalogue
from llmemb_service.storage.sqlite.sessions import prepare_sessions
from llmemb_service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE

_INSERT_ITEM = "INSERT INTO items (id, attributes, categories, available, removed) VALUES (?, ?, ?, ?, ?)"
_INSERT_VECTOR = "INSERT INTO vectors (bundle_id, item_id, semantic) VALUES (?, ?, ?)"
_INSERT_SESSION = "INSERT OR REPLACE INTO sessions (id, history, expires) VALUES (?, ?, ?)"
_READ_ITEMS = """
SELECT position, items.id, attributes, categories, available, removed, bundle_id, semantic
FROM items LEFT JOIN vectors ON vectors.item_id = items.id ORDER BY position
"""
_READ_SESSIONS = "SELECT id, history, expires FROM sessions"
_DROP_OTHER_VECTORS = "DELETE FROM vectors WHERE bundle_id NOT IN (SELECT id FROM bundles)"
_DROP_ENDED_SESSIONS = "DELETE FROM sessions WHERE expires <= ?"
_WRONG_IN_CATALOGUE = """
SELECT 'item ' || id FROM items
WHERE typeof(id) <> 'text' OR available NOT IN (0, 1) OR removed NOT IN (0, 1)
    OR attributes IS NOT NULL AND (NOT json_valid(attributes) OR json_type(attributes) <> 'object')
    OR categories IS NOT NULL AND (NOT json_valid(categories) OR json_type(categories) <> 'array')
UNION ALL SELECT 'the vector of item ' || item_id FROM vectors
WHERE typeof(semantic) <> 'blob' OR length(semantic) % 4 <> 0
UNION ALL SELECT 'bundle ' || id FROM bundles WHERE typeof(id) <> 'text'
"""
_WRONG_IN_SESSIONS = """
SELECT 'session ' || id FROM sessions
WHERE typeof(id) <> 'text' OR typeof(expires) <> 'real'
    OR NOT json_valid(history) OR json_type(history) <> 'array' OR json_array_length(history) = 0
"""


@dataclass(frozen=True, slots=True)
class KeptItem:
    """All that a storage keeps of a changed item. What is None is as the bundle has it."""

    id: str
    attributes_json: str | None
    categories_json: str | None
    """A list of texts."""
    available: bool | None
    removed: bool
    vectors: Mapping[str, bytes]
    """Bundle id -> semantic vector `(D,)`, float32, little-endian."""


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session: item ids, the oldest first, and the Unix time at which it ends."""

    id: str
    history: tuple[str, ...]
    expires: float


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The two databases, open, each in a transaction."""

    catalogue: sqlite3.Connection
    sessions: sqlite3.Connection

    def add_items(self, items: Iterable[KeptItem]) -> None:
        """Add items after those already there."""
        for item in items:
            row = (item.id, item.attributes_json, item.categories_json, item.available, item.removed)
            self.catalogue.execute(_INSERT_ITEM, row)
            self.catalogue.executemany(
                _INSERT_VECTOR, [(bundle, item.id, vector) for bundle, vector in item.vectors.items()]
            )

    def items(self) -> Iterator[KeptItem]:
        """Yield all items in the order of their first change, with the vectors of all bundles."""
        for _, rows in groupby(self.catalogue.execute(_READ_ITEMS), key=lambda row: row[0]):
            of_item = list(rows)
            _, item_id, attributes_json, categories_json, available, removed, _, _ = of_item[0]
            yield KeptItem(
                id=item_id,
                attributes_json=attributes_json,
                categories_json=categories_json,
                available=None if available is None else bool(available),
                removed=bool(removed),
                vectors={bundle: vector for *_, bundle, vector in of_item if bundle is not None},
            )

    def set_bundles(self, bundles: Sequence[str]) -> None:
        """Keep the vectors of these bundles, the most recently used last, and drop all others."""
        self.catalogue.execute("DELETE FROM bundles")
        self.catalogue.executemany("INSERT INTO bundles (id) VALUES (?)", [(bundle,) for bundle in bundles])
        self.catalogue.execute(_DROP_OTHER_VECTORS)

    def bundles(self) -> tuple[str, ...]:
        """Return the bundles whose vectors are kept, the most recently used last."""
        return tuple(bundle for (bundle,) in self.catalogue.execute("SELECT id FROM bundles ORDER BY used"))

    def add_sessions(self, sessions: Iterable[KeptSession]) -> None:
        """Add sessions; one with an id that is already there is replaced."""
        self.sessions.executemany(
            _INSERT_SESSION,
            ((session.id, json.dumps(session.history, ensure_ascii=False), session.expires) for session in sessions),
        )

    def read_sessions(self) -> Iterator[KeptSession]:
        """Yield all sessions, in no order."""
        for session_id, history, expires in self.sessions.execute(_READ_SESSIONS):
            yield KeptSession(session_id, tuple(json.loads(history)), expires)

    def drop_ended_sessions(self) -> None:
        """Delete the sessions that have ended by now."""
        self.sessions.execute(_DROP_ENDED_SESSIONS, (time.time(),))

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of items, of removed items and of sessions."""
        every, removed = self.catalogue.execute("SELECT count(*), coalesce(sum(removed), 0) FROM items").fetchone()
        (sessions,) = self.sessions.execute("SELECT count(*) FROM sessions").fetchone()
        return every - removed, removed, sessions

    def fault(self) -> str | None:
        """Return the first thing wrong with the databases, or None.

        Raises:
            sqlite3.Error: a table or a column is missing.
        """
        for name, connection, wrong in (
            (CATALOGUE_FILE, self.catalogue, _WRONG_IN_CATALOGUE),
            (SESSIONS_FILE, self.sessions, _WRONG_IN_SESSIONS),
        ):
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                return f"{name}: {said.splitlines()[-1]}"
            if found := connection.execute(wrong).fetchone():
                return f"{name}: {found[0]} has a value of the wrong type"
        return None


@contextmanager
def open_state_files(folder: Path) -> Iterator[StateFiles]:
    """Open the databases in a folder; made where missing, upgraded where old.

    When the block ends without an error the changes are committed. After an error the files are worthless.

    Raises:
        ConfigError: a later program wrote them.
        sqlite3.Error: they cannot be written, or are not databases.
    """
    with ExitStack() as stack:
        catalogue = stack.enter_context(_open(folder / CATALOGUE_FILE))
        sessions = stack.enter_context(_open(folder / SESSIONS_FILE))
        prepare_catalogue(catalogue)
        prepare_sessions(sessions)
        yield StateFiles(catalogue, sessions)
        for connection in (catalogue, sessions):
            connection.execute("COMMIT")


@contextmanager
def open_restored_files(archive: Archive, folder: Path, progress: Progress) -> Iterator[StateFiles]:
    """Extract a backup to an empty folder and open its databases, without the sessions that have ended meanwhile.

    Raises:
        BackupError: the backup is damaged, or a later program wrote its databases.
        OSError: the folder cannot be written.
    """
    archive.extract(folder, progress)
    try:
        with open_state_files(folder) as files:
            if (fault := files.fault()) is not None:
                raise BackupError(f"{archive.path} cannot be restored: {fault}")
            files.drop_ended_sessions()
            yield files
    except (ConfigError, sqlite3.Error) as error:
        raise BackupError(f"{archive.path} cannot be restored: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is copied into an archive as it is: what is deleted must not remain in its free pages.
        connection.execute("PRAGMA secure_delete = ON")
        # No rollback and no recovery: an unfinished file is thrown away. Leave WAL first.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
