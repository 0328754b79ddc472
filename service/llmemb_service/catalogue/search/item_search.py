"""Full-text search over a catalogue. A thread of its own updates the index.

The index lags a little behind the catalogue. Callers look up each result in a snapshot, so removed items are not shown.
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
from llmemb_service.catalogue.search import search_file
from llmemb_service.catalogue.search.search_file import Found, Position, SearchFolder, drop
from llmemb_service.errors import NotReadyError, OverloadedError

CHUNK_ITEMS = 2000
"""Items of one transaction while the bundle's items are indexed."""
READERS = 2
MAX_WAITING = 64
"""Maximum number of searches that run or wait for a reader."""
WAIT_SECONDS = 5.0
"""For this long after the start, searches wait for an index that is being built; a small one is ready by then."""
MAX_LAG_SECONDS = 0.1
"""Maximum time that a change of the catalogue waits for the index."""

logger = logging.getLogger(__name__)


class ItemSearch:
    """The full-text index of one bundle's catalogue. The first `reset` starts its thread.

    Args:
        bundle: has the unchanged items.
        folder: stores the index across restarts; None uses a temporary folder.
    """

    def __init__(self, bundle: Bundle, folder: Path | None) -> None:
        self._items = bundle.items
        self._first_name = bundle.prompt.attribute_names[0]
        self._folder = SearchFolder(folder, bundle.manifest.id)
        self._thread = threading.Thread(target=self._run, name="item-search", daemon=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="item-search-reader")
        self._connections = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._num_waiting = 0
        self._condition = threading.Condition()
        # Changes that the thread has not written yet: the last text of each item, so at most one entry per item.
        self._texts: dict[str, str | None] = {}
        self._is_reset = False
        self._num_received = 0
        self._num_written = 0
        self._serving = threading.Event()
        self._wait_until = math.inf
        self._failed = False
        self._closed = False

    def reset(self, texts: Mapping[str, str | None]) -> None:
        """Go back to the bundle's items and apply changes: id -> attributes' JSON, None for a removed item."""
        with self._condition:
            self._texts = dict(texts)
            self._is_reset = True
            self._num_received += 1
            self._condition.notify_all()
            if self._thread.ident is None and not self._closed:
                self._wait_until = time.monotonic() + WAIT_SECONDS
                self._thread.start()

    def update(self, texts: Mapping[str, str | None]) -> None:
        """Apply changes, in the same form as for `reset`."""
        if texts:
            with self._condition:
                self._texts.update(texts)
                self._num_received += 1
                self._condition.notify_all()

    async def wait_until_current(self) -> None:
        """Wait some milliseconds until all changes can be found; at most `MAX_LAG_SECONDS`, and not during a build."""
        if self._serving.is_set() and not self._failed:
            await asyncio.to_thread(self._wait_for, self._num_received, MAX_LAG_SECONDS)

    async def find(self, query: str | None, after: Position, limit: int) -> Sequence[Found]:
        """Return ids and positions, the best match first, ties by place; without a query, all items.

        Args:
            query: any text; an item matches if it has all words, where the last one is a prefix.
            after: the end of the previous page.
            limit: maximum number of items.

        Raises:
            NotReadyError: the index is being built or has failed.
            OverloadedError: too many searches are waiting.
        """
        if self._num_waiting >= MAX_WAITING:
            raise OverloadedError(f"{self._num_waiting} searches of the catalogue are waiting; try again later")
        self._num_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._find, query, after, limit)
        finally:
            self._num_waiting -= 1

    def close(self) -> None:
        """Stop the thread and close the file."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._readers.shutdown()
        for connection in self._opened:
            connection.close()
        if self._thread.is_alive():
            self._thread.join()

    def _find(self, query: str | None, after: Position, limit: int) -> list[Found]:
        timeout = min(WAIT_SECONDS, max(0.0, self._wait_until - time.monotonic()))
        if not self._serving.wait(0 if self._failed else timeout):
            raise NotReadyError("the catalogue's full-text index is being built; recommendations do not need it")
        connection: sqlite3.Connection | None = getattr(self._connections, "own", None)
        if connection is None:
            connection = self._connections.own = search_file.connect(self._folder.path)
            self._opened.append(connection)
        return search_file.find(connection, None if query is None else search_file.fts_query(query), after, limit)

    def _wait_for(self, received: int, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._num_written >= received or self._closed, seconds)

    def _run(self) -> None:
        try:
            with self._folder as folder, closing(self._built(folder.path)) as connection:
                self._follow(connection)
        except Exception:
            self._failed = True
            self._serving.clear()
            logger.exception("the full-text index of the catalogue failed; GET /items answers 503")

    def _built(self, path: Path) -> sqlite3.Connection:
        """Return a connection to the file with the bundle's items; they are incomplete if the thread must stop."""
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
            with self._condition:
                self._condition.wait_for(lambda: self._texts or self._is_reset or self._closed)
                if self._closed:
                    return
                texts, self._texts = self._texts, {}
                is_reset, self._is_reset = self._is_reset, False
                received = self._num_received
            if is_reset:
                self._revert(connection)
            changed = {item_id: None if text is None else self._texts_of(text) for item_id, text in texts.items()}
            search_file.write(connection, changed, len(self._items.ids))
            with self._condition:
                self._num_written = received
                self._condition.notify_all()
            self._serving.set()

    def _revert(self, connection: sqlite3.Connection) -> None:
        ids = search_file.changed_ids(connection)
        rows = [self._items.rows.get(item_id) for item_id in ids]
        texts = [None if row is None else self._texts_of(self._items.attributes_json[row]) for row in rows]
        search_file.revert(connection, dict(zip(ids, texts, strict=True)))

    def _texts_of(self, attributes_json: str) -> tuple[str, str]:
        return search_file.texts_of(attributes_json, self._first_name)
