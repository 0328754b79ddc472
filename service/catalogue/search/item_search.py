"""Full-text search over a catalogue, kept by a thread of its own beside the catalogue's snapshots.

It follows the catalogue a moment behind it: what it finds is looked up in a snapshot, so nothing that is gone is shown.
"""

import asyncio
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from llmemb.bundle import Bundle
from service.catalogue.search import search_file
from service.catalogue.search.search_file import Found, Position, SearchFolder, drop
from service.errors import NotReadyError, OverloadedError

CHUNK_ITEMS = 2000
"""Items of one transaction while the bundle's are read."""
READERS = 2
MOST_WAITING = 64
"""Searches that may wait for a reader."""
WAIT_SECONDS = 5.0
"""How long after its start an index that is being built is waited for; a small one is there by then."""
CATCH_UP_SECONDS = 0.1
"""How long a change waits until it can be found."""

logger = logging.getLogger(__name__)


class ItemSearch:
    """The full-text index of one bundle's catalogue. Its thread begins with the first `reset`.

    Args:
        bundle: gives the items that were never changed.
        folder: holds the index while the service is down; None takes a temporary one.
    """

    def __init__(self, bundle: Bundle, folder: Path | None) -> None:
        self._items = bundle.items
        self._first_name = bundle.prompt.attribute_names[0]
        self._place = SearchFolder(folder, bundle.manifest.id)
        self._thread = threading.Thread(target=self._run, name="item-search", daemon=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="item-search-reader")
        self._connections = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._asked = 0
        self._turn = threading.Condition()
        # What the thread has still to take in: the last text of each item, so no more than there are items.
        self._texts: dict[str, str | None] = {}
        self._is_reset = False
        self._taken = 0
        self._done = 0
        self._serving = threading.Event()
        self._wait_until = math.inf
        self._failed = False
        self._closed = False

    def reset(self, texts: Mapping[str, str | None]) -> None:
        """Begin again with the bundle's items, and take these in: id -> attributes' JSON, None where it was removed."""
        with self._turn:
            self._texts = dict(texts)
            self._is_reset = True
            self._taken += 1
            self._turn.notify_all()
            if self._thread.ident is None and not self._closed:
                self._wait_until = time.monotonic() + WAIT_SECONDS
                self._thread.start()

    def take(self, texts: Mapping[str, str | None]) -> None:
        """Take changed items in, as `reset` does."""
        if texts:
            with self._turn:
                self._texts.update(texts)
                self._taken += 1
                self._turn.notify_all()

    async def caught_up(self) -> None:
        """Wait until what was taken can be found: some milliseconds. Not while the index is built, nor for long."""
        if self._serving.is_set() and not self._failed:
            await asyncio.to_thread(self._wait_for, self._taken, CATCH_UP_SECONDS)

    async def find(self, query: str | None, after: Position, limit: int) -> Sequence[Found]:
        """Return ids and their positions, the best match first, equal ones by their places; all items without a query.

        Args:
            query: any text; items match that have all its words, the last of which may be only begun.
            after: where the page before ended.
            limit: the most items.

        Raises:
            NotReadyError: the index is being built, or cannot be.
            OverloadedError: too many searches wait.
        """
        if self._asked >= MOST_WAITING:
            raise OverloadedError(f"{self._asked} searches of the catalogue wait; try again later")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._find, query, after, limit)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """Stop the thread and close the file."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._readers.shutdown()
        for connection in self._opened:
            connection.close()
        if self._thread.is_alive():
            self._thread.join()

    def _find(self, query: str | None, after: Position, limit: int) -> list[Found]:
        patience = min(WAIT_SECONDS, max(0.0, self._wait_until - time.monotonic()))
        if not self._serving.wait(0 if self._failed else patience):
            raise NotReadyError("the catalogue's full-text index is being built; recommendations do not need it")
        connection: sqlite3.Connection | None = getattr(self._connections, "own", None)
        if connection is None:
            connection = self._connections.own = search_file.connect(self._place.path)
            self._opened.append(connection)
        return search_file.find(connection, None if query is None else search_file.fts_query(query), after, limit)

    def _wait_for(self, taken: int, seconds: float) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._done >= taken or self._closed, seconds)

    def _run(self) -> None:
        try:
            with self._place as place, closing(self._built(place.path)) as connection:
                self._follow(connection)
        except Exception:
            self._failed = True
            self._serving.clear()
            logger.exception("the full-text index of the catalogue does not work; GET /items answers 503")

    def _built(self, path: Path) -> sqlite3.Connection:
        """Return a connection to the file, with the bundle's items in it unless the thread is to stop."""
        connection = search_file.connect_to_whole(path)
        if connection is not None:
            return connection
        drop(path)
        connection = search_file.connect(path)
        search_file.create(connection)
        ids, attributes_json = self._items.ids, self._items.attributes_json
        for start in range(0, len(ids), CHUNK_ITEMS):
            if self._closed:
                return connection
            texts = map(self._texts_of, attributes_json[start : start + CHUNK_ITEMS])
            search_file.add_items(connection, start, ids[start : start + CHUNK_ITEMS], texts)
        search_file.finish(connection)
        return connection

    def _follow(self, connection: sqlite3.Connection) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._texts or self._is_reset or self._closed)
                if self._closed:
                    return
                texts, self._texts = self._texts, {}
                is_reset, self._is_reset = self._is_reset, False
                taken = self._taken
            if is_reset:
                self._revert(connection)
            changed = {item_id: None if text is None else self._texts_of(text) for item_id, text in texts.items()}
            search_file.write(connection, changed, len(self._items.ids))
            with self._turn:
                self._done = taken
                self._turn.notify_all()
            self._serving.set()

    def _revert(self, connection: sqlite3.Connection) -> None:
        ids = search_file.changed_ids(connection)
        rows = [self._items.rows.get(item_id) for item_id in ids]
        texts = [None if row is None else self._texts_of(self._items.attributes_json[row]) for row in rows]
        search_file.revert(connection, dict(zip(ids, texts, strict=True)))

    def _texts_of(self, attributes_json: str) -> tuple[str, str]:
        return search_file.texts_of(attributes_json, self._first_name)
