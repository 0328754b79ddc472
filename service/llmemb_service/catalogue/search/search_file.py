"""The full-text index of a catalogue as an SQLite file: FTS5 over the items' texts. A lost file is rebuilt."""

import fcntl
import json
import re
import sqlite3
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

FORMAT = 2
"""Version of the tables, stored as SQLite's `user_version`; that is 0 until all items of the bundle are indexed."""
FIRST_WEIGHT, OTHERS_WEIGHT = 4.0, 1.0
"""BM25 weights. A match in the first attribute, usually the title, is more relevant than one in the others."""

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
    first, others, content = 'items', content_rowid = 'place',
    tokenize = "unicode61 remove_diacritics 0 categories 'L* N* Co M*'"
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
    """The position of an item in a list; the next page begins after it."""

    score: float
    """BM25 score, the lowest is the best match; 0 without a query."""
    place: int


START = Position(float("-inf"), -1)


@dataclass(frozen=True, slots=True)
class Found:
    """An item of a list."""

    id: str
    position: Position


def connect(path: Path) -> sqlite3.Connection:
    """Open the file. A crash of the machine can lose the last changes; the item log still has them."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def connect_to_whole(path: Path) -> sqlite3.Connection | None:
    """Open the file if it has all items of the bundle in this format; else return None."""
    try:
        connection = connect(path)
    except sqlite3.DatabaseError:
        return None  # not an SQLite file
    if connection.execute("PRAGMA user_version").fetchone() == (FORMAT,):
        return connection
    connection.close()
    return None


def create(connection: sqlite3.Connection) -> None:
    """Make the tables."""
    connection.executescript(_CREATE)


def add_items(connection: sqlite3.Connection, start: int, ids: Sequence[str], texts: Iterable[tuple[str, str]]) -> None:
    """Add items of the bundle at the places from `start` on, each with its texts from `texts_of`."""
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
    """Mark the file as complete: it has all items of the bundle."""
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def write(connection: sqlite3.Connection, texts: Mapping[str, tuple[str, str] | None], num_own: int) -> None:
    """Add, replace or remove items in one transaction.

    Args:
        connection: to the file.
        texts: id -> texts; None removes the item.
        num_own: number of the bundle's items; they keep their places when they are removed.
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
    """Return the ids of the items that differ from the bundle's."""
    return [item_id for (item_id,) in connection.execute("SELECT id FROM items WHERE changed ORDER BY place")]


def revert(connection: sqlite3.Connection, texts: Mapping[str, tuple[str, str] | None]) -> None:
    """Restore items to the bundle's texts; None removes an item that the bundle does not have."""
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
        query: an FTS5 query from `fts_query`; None lists all items by place.
        after: the last item of the previous page.
        limit: maximum number of items.
    """
    values = {"query": query, "score": after.score, "place": after.place, "limit": limit}
    rows = connection.execute(_LIST if query is None else _FIND, values)
    return [Found(item_id, Position(score, place)) for item_id, score, place in rows]


def fts_query(text: str) -> str | None:
    """Turn any text into an FTS5 query for all its words, the last one as a prefix; None if it has no words."""
    words = [searchable(word) for word in text.replace("\0", " ").split()]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted) + "*" if quoted else None


def texts_of(attributes_json: str, first_name: str) -> tuple[str, str]:
    """Return the text of an item's first attribute, and the text of all others, as `searchable` writes them."""
    attributes: dict[str, str | list[str]] = json.loads(attributes_json)
    texts = {name: value if isinstance(value, str) else "\n".join(value) for name, value in attributes.items()}
    return searchable(texts.pop(first_name, "")), searchable("\n".join(texts.values()))


_WIDTHS = re.compile("[\uff00-\uffef]+")
"""Characters of full and half width."""
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0]"
)
"""Combining marks of Latin, Greek, Cyrillic, Hebrew and Arabic; in other scripts they are vowels or change a letter."""
_UNSPACED = (
    "\u0e01-\u0e5b\u0e81-\u0edf"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\uac00-\ud7a3"  # Hangul: it has spaces, but compounds and endings are written together
)
"""Scripts without spaces between words."""
_MARKS = "".join(
    chr(code)
    for first, last in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3099, 0x309A))
    for code in range(first, last + 1)
    if unicodedata.category(chr(code)).startswith("M")
)
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}][{_MARKS}]*")


def searchable(text: str) -> str:
    """Return the form of a text in which it is indexed and searched.

    Case and accents are removed, and composed and decomposed characters become the same. Each letter of a script
    without spaces becomes a token of its own, so that a query is found anywhere in a run of letters: it is a phrase of
    such tokens. FTS5's trigrams would not find words of two letters, of which Chinese and Japanese have many.
    """
    if text.isascii():
        return text
    text = _WIDTHS.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
    text = unicodedata.normalize("NFD", text).casefold().replace("\u0131", "i")  # Turkish dotless i
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", text))
    return _UNSPACED_LETTER.sub(r" \g<0> ", text)


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
    """A context manager that locks the index file, so that one process writes it.

    Args:
        folder: keeps the files across restarts. If it is None, or another process has locked the file, a temporary
            folder is used.
        bundle_id: part of the file's name.
    """

    def __init__(self, folder: Path | None, bundle_id: str) -> None:
        self._folder = folder
        self._name = f"search-{bundle_id}.sqlite3"
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: TextIO | None = None
        self.path = Path()
        """The file; it may not exist yet."""

    def __enter__(self) -> Self:
        """Lock the file, or make a temporary folder for it."""
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
        """Release the lock and remove the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()
        if self._lock is not None:
            self._lock.close()

    def _drop_others(self, folder: Path) -> None:
        """Remove the files of bundles that no process has loaded."""
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
    """Remove an SQLite file with its write-ahead log and shared memory."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """Open a file and lock it until it is closed; None if another process has locked it."""
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
