"""The live catalogue of one bundle: it follows the item log, writes changes to it, and keeps the current snapshot."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from llmemb.bundle import Bundle
from llmemb.item import attributes_to_json
from llmemb_service.catalogue.pending import NewItem, PendingItem
from llmemb_service.catalogue.search.item_search import ItemSearch
from llmemb_service.catalogue.snapshot.base import SegmentIndex
from llmemb_service.catalogue.snapshot.edition import (
    compacted,
    extended_segment,
    is_due,
    wants_compaction,
    with_changes,
)
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.errors import CatalogueFullError, ItemNotFoundError
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import (
    Array,
    Change,
    EmbeddedBy,
    ItemState,
    PatchItem,
    PutItem,
    RemoveItem,
)
from llmemb_service.storage.item_log import ItemLog

FEW_CHANGES = 64
"""A folded snapshot applies at most this many changes while it holds the lock."""

logger = logging.getLogger(__name__)


class Head:
    """The current snapshot. Readers read `snapshot` once; every change and every fold is one assignment.

    Args:
        first: the catalogue before any change.
        fold_items: maximum number of rows outside the index; when there are more, they are folded into it.
        metrics: records the folds.
        folded: called after each fold, in the fold's thread.
    """

    def __init__(
        self, first: Snapshot, fold_items: int, metrics: Metrics, folded: Callable[[], object] = lambda: None
    ) -> None:
        self.snapshot = first
        self._first = first
        self._fold_items = fold_items
        self._metrics = metrics
        self._folded = folded
        self._changing = threading.Lock()  # held only while a change is applied
        self._generation = 0
        self._since: list[Change] | None = None
        """Changes made while a snapshot is being compacted; None at other times."""
        self._thread: threading.Thread | None = None
        self._failed_rows = 0
        self._closed = False

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes."""
        with self._changing:
            self.snapshot = with_changes(self.snapshot, changes)
            if self._since is not None:
                self._since.extend(changes)
            self._fold_if_due()

    def reset(self, changes: Sequence[Change]) -> None:
        """Go back to the first snapshot and apply these changes."""
        snapshot = with_changes(self._first, changes)
        with self._changing:
            self.snapshot = snapshot
            self._generation += 1
            self._since = None
            self._failed_rows = 0
            self._fold_if_due()

    def wait_until_folded(self) -> None:
        """Wait for the running fold, if there is one."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Start no further fold, and wait for the running one."""
        self._closed = True
        self.wait_until_folded()

    def _is_due(self) -> bool:
        # After a failure, wait for another `fold_items` rows, so that it does not fail in a loop.
        rows = self.snapshot.num_rows - self._failed_rows
        return not self._closed and rows > 0 and is_due(self.snapshot, self._fold_items)

    def _fold_if_due(self) -> None:
        if self._thread is None and self._is_due():
            self._thread = threading.Thread(target=self._fold, name="fold", daemon=True)
            self._thread.start()

    def _fold(self) -> None:
        while True:
            try:
                with self._metrics.fold_seconds.time():
                    self._fold_once()
                self._folded()
            except Exception:
                self._metrics.fold_errors.inc()
                logger.exception("the added items could not be folded into the index; they are searched outside it")
                self._failed_rows = self.snapshot.num_rows + self._fold_items
            with self._changing:
                if not self._is_due():
                    self._thread = None
                    return

    def _fold_once(self) -> None:
        with self._changing:
            snapshot, generation = self.snapshot, self._generation
            compacts = wants_compaction(snapshot)
            self._since = [] if compacts else None
        if compacts:
            self._replay(compacted(snapshot), generation)
            return
        segment = extended_segment(snapshot)
        with self._changing:
            if generation == self._generation:
                self.snapshot = self.snapshot.with_segment(segment)

    def _replay(self, snapshot: Snapshot, generation: int) -> None:
        """Make a compacted snapshot the current one, with the changes made since the compaction began."""
        while True:
            with self._changing:
                if generation != self._generation or self._since is None:
                    return
                changes, self._since = self._since, []
                if len(changes) <= FEW_CHANGES:
                    self.snapshot = with_changes(snapshot, changes)
                    self._since = None
                    return
            snapshot = with_changes(snapshot, changes)


class Catalogue:
    """The items that can be recommended now. Readers read `snapshot` once and never wait.

    The constructor reads the whole bundle, so call it in a thread. `close` stops the catalogue's own threads.

    Args:
        bundle: the catalogue's base.
        log: stores the changes; the caller attaches the catalogue to it.
        settings: the limit of added items, when they are folded, and where the full-text index is stored.
        metrics: records the catalogue's size.
        segment: an index over the bundle's items; None uses the bundle's own.
    """

    def __init__(
        self, bundle: Bundle, log: ItemLog, settings: Settings, metrics: Metrics, segment: SegmentIndex | None = None
    ) -> None:
        self.bundle_id = bundle.manifest.id
        self.has_pending = asyncio.Event()
        """Set while there are pending items."""
        # Replicas that share Redis may share the folder too, but each needs an index of its own.
        self.search = ItemSearch(bundle, settings.state_dir if settings.redis_url is None else None)
        self._prompt = bundle.prompt
        self._log = log
        self._max_added_items = settings.max_added_items
        self._metrics = metrics
        self._head = Head(Snapshot.of(bundle, segment), settings.fold_items, metrics, self._update_metrics)
        self._pending: dict[str, PendingItem] = {}
        self._left_out: dict[str, PendingItem] = {}
        self._in_flight = 0
        """New items that are being written to the log."""
        self._update_status()

    @property
    def snapshot(self) -> Snapshot:
        """The current state of the catalogue."""
        return self._head.snapshot

    @property
    def pending(self) -> Mapping[str, PendingItem]:
        """Items whose attributes this bundle has not embedded yet, by id; until then their old version is served."""
        return self._pending

    @property
    def left_out(self) -> int:
        """How many items have attributes that this bundle does not know."""
        return len(self._left_out)

    def restore(self, states: Sequence[ItemState]) -> None:
        """See `Follower`. It may run in a thread while the service answers, but no other method may run meanwhile."""
        self._pending.clear()
        self._left_out.clear()
        changes: list[Change] = []
        for state in states:
            changes.extend(self._changes_of(state))
        self._head.reset(changes)
        self.search.reset(_texts(changes))
        self._update_status()

    def apply(self, changes: Sequence[Change]) -> None:
        """See `Follower`."""
        visible: list[Change] = []
        for change in changes:
            if self._is_foreign(change) and visible:
                self._update(visible)  # its effect depends on the snapshot after the changes before it
                visible = []
            visible.extend(self._snapshot_changes(change))
        self._update(visible)

    def add_vectors(self, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """Add the vectors of pending items: id -> the attributes' JSON and their semantic vector `(D,)`.

        An item stays pending if its attributes have changed meanwhile.
        """
        changes: list[Change] = []
        for item_id, (attributes_json, vector) in vectors.items():
            item = self._pending.get(item_id)
            if item is not None and item.attributes_json == attributes_json:
                del self._pending[item_id]
                changes.append(item.put(self.bundle_id, vector))
        self._update(changes)

    async def put(self, items: Sequence[NewItem], vectors: Sequence[Array]) -> None:
        """Add or replace items with distinct ids: all or none, durable when this returns.

        `GET /items` then finds them too, unless the full-text index is being built or lags.

        Args:
            items: validated items.
            vectors: their semantic vectors by this bundle, each `(D,)`.

        Raises:
            CatalogueFullError: there would be too many added items.
            StorageError: the items cannot be written.
        """
        new = sum(not self._is_added(item.id) for item in items)
        added = self.snapshot.num_added + len(self._pending) + len(self._left_out) + self._in_flight
        if new and added + new > self._max_added_items:
            raise CatalogueFullError(
                f"the catalogue has {added} added items and the maximum is {self._max_added_items}; "
                "no item of the request was added"
            )
        self._in_flight += new
        try:
            await self._log.append([self._put_of(item, vector) for item, vector in zip(items, vectors, strict=True)])
        finally:
            self._in_flight -= new
        await self.search.wait_until_current()

    async def patch(self, item_id: str, categories: tuple[str, ...] | None, available: bool | None) -> None:
        """Change an item's categories or availability; None keeps the value. Durable when this returns.

        Raises:
            ItemNotFoundError: the item is not in the catalogue.
            StorageError: the change cannot be written.
        """
        self._check_contains(item_id)
        await self._log.append([PatchItem(item_id, categories, available)])

    async def remove(self, item_id: str) -> None:
        """Remove an item from the catalogue. Durable when this returns.

        Raises:
            ItemNotFoundError: the item is not in the catalogue.
            StorageError: the change cannot be written.
        """
        self._check_contains(item_id)
        await self._log.append([RemoveItem(item_id)])
        await self.search.wait_until_current()

    def contains(self, item_id: str) -> bool:
        """Return whether there is an item with this id, even if this bundle cannot show it yet."""
        return item_id in self._pending or item_id in self._left_out or self.snapshot.row(item_id) is not None

    async def close(self) -> None:
        """Stop folding and the full-text index."""
        await asyncio.to_thread(self._head.close)
        await asyncio.to_thread(self.search.close)

    def _check_contains(self, item_id: str) -> None:
        if not self.contains(item_id):
            raise ItemNotFoundError(item_id)

    def _is_added(self, item_id: str) -> bool:
        row = self.snapshot.row(item_id)
        shown = row is not None and self.snapshot.source(row) == "added"
        return shown or item_id in self._pending or item_id in self._left_out

    def _put_of(self, item: NewItem, vector: Array) -> PutItem:
        text = attributes_to_json(item.attributes)
        return PutItem(item.id, text, item.categories, item.available, EmbeddedBy(self.bundle_id, vector))

    def _update(self, changes: Sequence[Change]) -> None:
        self._head.apply(changes)
        self.search.update(_texts(changes))
        self._update_status()

    def _snapshot_changes(self, change: Change) -> Sequence[Change]:
        """Return the changes to apply to the snapshot, and update the items that wait for a vector."""
        if isinstance(change, PatchItem):
            for waiting in (self._pending, self._left_out):
                if change.id in waiting:
                    waiting[change.id] = waiting[change.id].patched(change)
            return [change]
        before = self._pending.pop(change.id, None) or self._left_out.pop(change.id, None)
        if isinstance(change, RemoveItem):
            return [change]
        if before is not None:
            change = replace(
                change,
                categories=before.categories if change.categories is None else change.categories,
                available=before.available if change.available is None else change.available,
            )
        if not self._is_foreign(change):
            return [change]
        patch = PatchItem(change.id, change.categories, change.available)
        row = self.snapshot.row(change.id)
        if row is None or self.snapshot.attributes_json(row) != change.attributes_json:
            self._defer(PendingItem(change.id, change.attributes_json, change.categories, change.available))
        return [patch]

    def _is_foreign(self, change: Change) -> bool:
        return isinstance(change, PutItem) and change.embedded.bundle_id != self.bundle_id

    def _defer(self, item: PendingItem) -> None:
        waiting = self._pending if item.is_known_to(self._prompt) else self._left_out
        waiting[item.id] = item

    def _changes_of(self, state: ItemState) -> Sequence[Change]:
        if state.removed:
            return [RemoveItem(state.id)]
        if state.attributes_json is None:
            return [PatchItem(state.id, state.categories, state.available)]
        item = PendingItem(state.id, state.attributes_json, state.categories, state.available)
        if state.vector is not None:
            return [item.put(self.bundle_id, state.vector)]
        self._defer(item)
        return [PatchItem(state.id, state.categories, state.available)]

    def _update_status(self) -> None:
        if self._pending:
            self.has_pending.set()
        else:
            self.has_pending.clear()
        self._update_metrics()

    def _update_metrics(self) -> None:
        metrics, bundle_id, snapshot = self._metrics, self.bundle_id, self.snapshot
        metrics.catalogue_items.labels(bundle_id, "bundle").set(len(snapshot) - snapshot.num_added)
        metrics.catalogue_items.labels(bundle_id, "added").set(snapshot.num_added)
        metrics.pending_items.labels(bundle_id).set(len(self._pending))
        metrics.left_out_items.labels(bundle_id).set(len(self._left_out))
        metrics.fresh_rows.labels(bundle_id).set(snapshot.num_rows - len(snapshot.segment))
        metrics.hidden_rows.labels(bundle_id).set(len(snapshot.visibility.hidden))


def _texts(changes: Sequence[Change]) -> dict[str, str | None]:
    """Return the attributes' JSON of each item that was put, and None for one that was removed."""
    texts: dict[str, str | None] = {}
    for change in changes:
        if isinstance(change, PutItem):
            texts[change.id] = change.attributes_json
        elif isinstance(change, RemoveItem):
            texts[change.id] = None
    return texts
