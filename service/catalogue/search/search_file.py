"""The full-text index of a catalogue as a file of SQLite: FTS5 over the items' texts, rebuilt when it is lost."""

import fcntl
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

FORMAT = 1
"""Of the tables; SQLite keeps it as `user_version`, and 0 until the bundle's items are all in."""
FIRST_WEIGHT, OTHERS_WEIGHT = 4.0, 1.0
"""A word in the first attribute, mostly the title, tells more than one in the others."""

_CREATE = """
CREATE TABLE items (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    first TEXT NOT NULL,
    others TEXT NOT NULL,
    removed INTEGER NOT NULL,
    changed INTEGER NOT NULL
);
CREATE INDEX changed_items ON items (id) WHERE changed;
CREATE VIRTUAL TABLE texts USING fts5(
    first, others, content = 'items', content_rowid = 'place', tokenize = "unicode61 remove_diacritics 2"
);
"""
_PUT = """
INSERT INTO items (place, id, first, others, removed, changed) VALUES (:place, :id, :first, :others, 0, 1)
ON CONFLICT (id) DO UPDATE SET first = excluded.first, others = excluded.others, removed = 0, changed = 1
RETURNING place
"""
_FIND = f"""
WITH found AS MATERIALIZED (
    SELECT rowid AS place, bm25(texts, {FIRST_WEIGHT}, {OTHERS_WEIGHT}) AS score FROM texts WHERE texts MATCH :query
)
SELECT items.id, found.score, found.place FROM found JOIN items USING (place)
WHERE (found.score, found.place) > (:score, :place) ORDER BY found.score, found.place LIMIT :limit
"""  # noqa: S608 - the weights are numbers of this module
_LIST = "SELECT id, 0.0, place FROM items WHERE place > :place AND NOT removed ORDER BY place LIMIT :limit"


@dataclass(frozen=True, slots=True)
class Position:
    """Where an item stands in a list: the next page begins after it."""

    score: float
    """Of the query, the best first; 0 without one."""
    place: int


START = Position(float("-inf"), -1)


@dataclass(frozen=True, slots=True)
class Found:
    """An item of a list."""

    id: str
    position: Position


def connect(path: Path) -> sqlite3.Connection:
    """Open the file; what is lost by a crash of the machine is the last changes, which the log has."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def connect_to_whole(path: Path) -> sqlite3.Connection | None:
    """Open the file where it has all of the bundle's items, in this format; else return None."""
    try:
        connection = connect(path)
    except sqlite3.DatabaseError:
        return None  # no file of SQLite
    if connection.execute("PRAGMA user_version").fetchone() == (FORMAT,):
        return connection
    connection.close()
    return None


def create(connection: sqlite3.Connection) -> None:
    """Make the tables."""
    connection.executescript(_CREATE)


def add_items(connection: sqlite3.Connection, start: int, ids: Sequence[str], texts: Iterable[tuple[str, str]]) -> None:
    """Add items of the bundle, the first at the place `start`, each with the texts that `texts_of` makes."""
    places = range(start, start + len(ids))
    rows = [(place, item_id, *text) for place, item_id, text in zip(places, ids, texts, strict=True)]
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, 0, 0)", rows)
    connection.executemany(
        "INSERT INTO texts (rowid, first, others) VALUES (?, ?, ?)",
        [(place, first, others) for place, _, first, others in rows],
    )
    connection.execute("COMMIT")


def finish(connection: sqlite3.Connection) -> None:
    """Say that the bundle's items are all in."""
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def write(connection: sqlite3.Connection, texts: Mapping[str, tuple[str, str] | None], num_own: int) -> None:
    """Put items, or take those out that have no texts, in one transaction.

    Args:
        connection: to the file.
        texts: id -> texts.
        num_own: the bundle's items; one of these keeps its place when it is taken out.
    """
    connection.execute("BEGIN")
    for item_id, text in texts.items():
        _forget_text(connection, item_id)
        if text is None:
            connection.execute("DELETE FROM items WHERE id = ? AND place >= ?", (item_id, num_own))
            connection.execute("UPDATE items SET removed = 1, changed = 1 WHERE id = ?", (item_id,))
        else:
            _put(connection, item_id, text)
    connection.execute("COMMIT")


def changed_ids(connection: sqlite3.Connection) -> list[str]:
    """Return the items that are not as the bundle has them."""
    return [item_id for (item_id,) in connection.execute("SELECT id FROM items WHERE changed ORDER BY place")]


def revert(connection: sqlite3.Connection, texts: Mapping[str, tuple[str, str] | None]) -> None:
    """Put items back as the bundle has them; those without texts it does not have."""
    connection.execute("BEGIN")
    for item_id, text in texts.items():
        _forget_text(connection, item_id)
        if text is None:
            connection.execute("DELETE FROM items WHERE id = ?", (item_id,))
        else:
            _put(connection, item_id, text)
            connection.execute("UPDATE items SET changed = 0 WHERE id = ?", (item_id,))
    connection.execute("COMMIT")


def find(connection: sqlite3.Connection, query: str | None, after: Position, limit: int) -> list[Found]:
    """Return the next items of a list.

    Args:
        connection: to the file.
        query: in FTS5's syntax, as `fts_query` makes it; None lists all items by their places.
        after: the last item of the page before.
        limit: the most items.
    """
    values = {"query": query, "score": after.score, "place": after.place, "limit": limit}
    rows = connection.execute(_LIST if query is None else _FIND, values)
    return [Found(item_id, Position(score, place)) for item_id, score, place in rows]


def fts_query(text: str) -> str | None:
    """Make any text a query: items with all of its words, the last of which may be only begun; None without words."""
    words = text.replace("\0", " ").split()
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted) + "*" if quoted else None


def texts_of(attributes_json: str, first_name: str) -> tuple[str, str]:
    """Return the text of an item's first attribute, and that of all others."""
    attributes: dict[str, str | list[str]] = json.loads(attributes_json)
    texts = {name: value if isinstance(value, str) else "\n".join(value) for name, value in attributes.items()}
    return texts.pop(first_name, ""), "\n".join(texts.values())


def _put(connection: sqlite3.Connection, item_id: str, text: tuple[str, str]) -> None:
    (last,) = connection.execute("SELECT coalesce(max(place), -1) FROM items").fetchone()
    row = {"place": last + 1, "id": item_id, "first": text[0], "others": text[1]}
    (place,) = connection.execute(_PUT, row).fetchone()
    connection.execute("INSERT INTO texts (rowid, first, others) VALUES (?, ?, ?)", (place, *text))


def _forget_text(connection: sqlite3.Connection, item_id: str) -> None:
    row = connection.execute(
        "SELECT place, first, others FROM items WHERE id = ? AND NOT removed", (item_id,)
    ).fetchone()
    if row is not None:
        connection.execute("INSERT INTO texts (texts, rowid, first, others) VALUES ('delete', ?, ?, ?)", row)


class SearchFolder:
    """Holds a file against others who would write it; a context manager.

    Args:
        folder: of files that outlive the process; None takes a temporary one, as does a file that somebody else holds.
        bundle_id: names the file.
    """

    def __init__(self, folder: Path | None, bundle_id: str) -> None:
        self._folder = folder
        self._name = f"search-{bundle_id}.sqlite3"
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: TextIO | None = None
        self.path = Path()
        """The file; it need not exist."""

    def __enter__(self) -> Self:
        """Take the file."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder / f"{self._name}.lock")
        if self._folder is not None and self._lock is not None:
            self.path = self._folder / self._name
            self._drop_others(self._folder)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="llmemb-search-")
            self.path = Path(self._temporary.name) / self._name
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        if self._temporary is not None:
            self._temporary.cleanup()
        if self._lock is not None:
            self._lock.close()

    def _drop_others(self, folder: Path) -> None:
        """Remove the files of bundles that nobody has loaded."""
        for path in folder.glob("search-*.sqlite3"):
            if path == self.path:
                continue
            lock_path = path.with_name(f"{path.name}.lock")
            lock = _locked(lock_path)
            if lock is not None:
                drop(path)
                lock_path.unlink()
                lock.close()


def drop(path: Path) -> None:
    """Remove a file of SQLite, and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """Open and lock a file until it is closed; None where somebody else has locked it."""
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
