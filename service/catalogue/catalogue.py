"""The live catalogue of one bundle: it follows the item log, writes changes to it, and has the current snapshot."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from llmemb.bundle import Bundle
from llmemb.item import attributes_to_json
from service.catalogue.pending import NewItem, PendingItem
from service.catalogue.search.item_search import ItemSearch
from service.catalogue.snapshot.base import SegmentIndex
from service.catalogue.snapshot.edition import compacted, extended_segment, is_due, wants_compaction, with_changes
from service.catalogue.snapshot.snapshot import Snapshot
from service.errors import CatalogueFullError, ItemNotFoundError
from service.observability.metrics import Metrics
from service.settings import Settings
from service.storage.changes import (
    Array,
    Change,
    EmbeddedBy,
    ItemState,
    PatchItem,
    PutItem,
    RemoveItem,
)
from service.storage.item_log import ItemLog

FEW_CHANGES = 64
"""So many are taken into a folded snapshot while a change waits."""

logger = logging.getLogger(__name__)


class Head:
    """Holds the present snapshot. Readers take `snapshot` once; every change and every fold is one assignment.

    Args:
        first: the catalogue before any change.
        fold_items: rows beside the index past which they are folded into it.
        metrics: told of folds.
        folded: called after each fold, in its thread.
    """

    def __init__(
        self, first: Snapshot, fold_items: int, metrics: Metrics, folded: Callable[[], object] = lambda: None
    ) -> None:
        self.snapshot = first
        self._first = first
        self._fold_items = fold_items
        self._metrics = metrics
        self._folded = folded
        self._changing = threading.Lock()  # held for no longer than a change takes
        self._generation = 0
        self._since: list[Change] | None = None
        """Changes that came while a snapshot is compacted."""
        self._thread: threading.Thread | None = None
        self._failed_rows = 0
        self._closed = False

    def take(self, changes: Sequence[Change]) -> None:
        """Take changes in."""
        with self._changing:
            self.snapshot = with_changes(self.snapshot, changes)
            if self._since is not None:
                self._since.extend(changes)
            self._fold_if_due()

    def reset(self, changes: Sequence[Change]) -> None:
        """Begin again with the first snapshot, and take these changes in."""
        snapshot = with_changes(self._first, changes)
        with self._changing:
            self.snapshot = snapshot
            self._generation += 1
            self._since = None
            self._failed_rows = 0
            self._fold_if_due()

    def wait_until_folded(self) -> None:
        """Wait for the fold that runs, if one does."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Begin no fold any more, and wait for the one that runs."""
        self._closed = True
        self.wait_until_folded()

    def _is_due(self) -> bool:
        # After a failure another piece must have come together, lest it fail over and over.
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
                logger.exception("the added items could not be folded into the index; they are searched beside it")
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
        """Put a compacted snapshot there, with the changes that have come since it was begun."""
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
    """The items that can be recommended now. Readers take `snapshot` once and never wait.

    It reads the whole bundle, so it is made in a thread; `close` gives back its own threads.

    Args:
        bundle: the catalogue's base.
        log: takes the changes; the caller attaches the catalogue to it.
        settings: the limit of added items, when they are folded, and where the full-text index is kept.
        metrics: told of the catalogue's size.
        segment: an index over the bundle's items; None takes the bundle's own.
    """

    def __init__(
        self, bundle: Bundle, log: ItemLog, settings: Settings, metrics: Metrics, segment: SegmentIndex | None = None
    ) -> None:
        self.bundle_id = bundle.manifest.id
        self.has_pending = asyncio.Event()
        """Set while there are pending items."""
        # Replicas that share Redis may share the folder too, and the index of another is not theirs.
        self.search = ItemSearch(bundle, settings.state_dir if settings.redis_url is None else None)
        self._prompt = bundle.prompt
        self._log = log
        self._max_added_items = settings.max_added_items
        self._metrics = metrics
        self._head = Head(Snapshot.of(bundle, segment), settings.fold_items, metrics, self._show_sizes)
        self._pending: dict[str, PendingItem] = {}
        self._left_out: dict[str, PendingItem] = {}
        self._arriving = 0
        """New items that are on their way into the log."""
        self._tell()

    @property
    def snapshot(self) -> Snapshot:
        """The catalogue as it is now."""
        return self._head.snapshot

    @property
    def pending(self) -> Mapping[str, PendingItem]:
        """Items whose attributes this bundle has still to embed, by id; what it had of them answers until then."""
        return self._pending

    @property
    def left_out(self) -> int:
        """How many items have attributes that this bundle does not know."""
        return len(self._left_out)

    def restore(self, states: Sequence[ItemState]) -> None:
        """See `Follower`; a caller that serves meanwhile may call it in a thread, none of the others beside it."""
        self._pending.clear()
        self._left_out.clear()
        changes: list[Change] = []
        for state in states:
            changes.extend(self._changes_of(state))
        self._head.reset(changes)
        self.search.reset(_texts(changes))
        self._tell()

    def apply(self, changes: Sequence[Change]) -> None:
        """See `Follower`."""
        visible: list[Change] = []
        for change in changes:
            if self._is_foreign(change) and visible:
                self._take(visible)  # what becomes of it depends on what the snapshot holds by then
                visible = []
            visible.extend(self._visible(change))
        self._take(visible)

    def give_vectors(self, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """Take pending items in: id -> the attributes' JSON and their semantic vector `(D,)`.

        An item whose attributes have changed meanwhile stays pending.
        """
        changes: list[Change] = []
        for item_id, (attributes_json, vector) in vectors.items():
            item = self._pending.get(item_id)
            if item is not None and item.attributes_json == attributes_json:
                del self._pending[item_id]
                changes.append(item.put(self.bundle_id, vector))
        self._take(changes)

    async def put(self, items: Sequence[NewItem], vectors: Sequence[Array]) -> None:
        """Add items of distinct ids, or put them in place of those it holds: all or none, durable when this returns.

        `GET /items` finds them by then too, unless the full-text index is being built or lags.

        Args:
            items: checked.
            vectors: their semantic vectors by this bundle, each `(D,)`.

        Raises:
            CatalogueFullError: there would be too many added items.
            StorageError: they cannot be written.
        """
        new = sum(not self._is_added(item.id) for item in items)
        held = self.snapshot.num_added + len(self._pending) + len(self._left_out) + self._arriving
        if new and held + new > self._max_added_items:
            raise CatalogueFullError(
                f"{held} items were added to the bundle's and there may be {self._max_added_items}; "
                "the request's were not added"
            )
        self._arriving += new
        try:
            await self._log.append([self._put_of(item, vector) for item, vector in zip(items, vectors, strict=True)])
        finally:
            self._arriving -= new
        await self.search.caught_up()

    async def patch(self, item_id: str, categories: tuple[str, ...] | None, available: bool | None) -> None:
        """Change an item's categories or availability; what is None stays. Durable when this returns.

        Raises:
            ItemNotFoundError: the catalogue does not hold the item.
            StorageError: the change cannot be written.
        """
        self._check_held(item_id)
        await self._log.append([PatchItem(item_id, categories, available)])

    async def remove(self, item_id: str) -> None:
        """Take an item out of the catalogue. Durable when this returns.

        Raises:
            ItemNotFoundError: the catalogue does not hold the item.
            StorageError: the change cannot be written.
        """
        self._check_held(item_id)
        await self._log.append([RemoveItem(item_id)])
        await self.search.caught_up()

    def holds(self, item_id: str) -> bool:
        """Say whether there is an item of this id, be it that this bundle cannot show it."""
        return item_id in self._pending or item_id in self._left_out or self.snapshot.row(item_id) is not None

    async def close(self) -> None:
        """Stop folding and the full-text index."""
        await asyncio.to_thread(self._head.close)
        await asyncio.to_thread(self.search.close)

    def _check_held(self, item_id: str) -> None:
        if not self.holds(item_id):
            raise ItemNotFoundError(item_id)

    def _is_added(self, item_id: str) -> bool:
        row = self.snapshot.row(item_id)
        shown = row is not None and self.snapshot.source(row) == "added"
        return shown or item_id in self._pending or item_id in self._left_out

    def _put_of(self, item: NewItem, vector: Array) -> PutItem:
        text = attributes_to_json(item.attributes)
        return PutItem(item.id, text, item.categories, item.available, EmbeddedBy(self.bundle_id, vector))

    def _take(self, changes: Sequence[Change]) -> None:
        self._head.take(changes)
        self.search.take(_texts(changes))
        self._tell()

    def _visible(self, change: Change) -> Sequence[Change]:
        """Return what a change does to the snapshot, and do the rest."""
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
            self._wait_for(PendingItem(change.id, change.attributes_json, change.categories, change.available))
        return [patch]

    def _is_foreign(self, change: Change) -> bool:
        return isinstance(change, PutItem) and change.embedded.bundle_id != self.bundle_id

    def _wait_for(self, item: PendingItem) -> None:
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
        self._wait_for(item)
        return [PatchItem(state.id, state.categories, state.available)]

    def _tell(self) -> None:
        if self._pending:
            self.has_pending.set()
        else:
            self.has_pending.clear()
        self._show_sizes()

    def _show_sizes(self) -> None:
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
