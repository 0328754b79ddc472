"""The next snapshot: apply changes, and fold the rows outside the index into it."""

from collections.abc import Sequence
from dataclasses import replace

import immutables
import numpy as np

from llmemb.bundle import Bundle
from llmemb.index import Rows
from llmemb_service.catalogue.snapshot.base import SegmentIndex, Table
from llmemb_service.catalogue.snapshot.rows import CategoryRows, RowSet, Visibility
from llmemb_service.catalogue.snapshot.snapshot import Delta, Snapshot
from llmemb_service.storage.changes import Array, Change, PatchItem, PutItem, RemoveItem


def item_vectors(bundle: Bundle, item_ids: Sequence[str], semantic: Array) -> Array:
    """Return the item vectors `(n, D)` of items with the semantic vectors `(n, D)`."""
    if bundle.residual is None:
        return bundle.space.item_vectors(semantic, None)
    residual = np.zeros((len(item_ids), bundle.space.dim), dtype=np.float32)
    rows = bundle.items.rows
    for place, item_id in enumerate(item_ids):
        row = rows.get(item_id)
        if row is not None:
            residual[place] = bundle.residual[row]
    return bundle.space.item_vectors(semantic, residual)


def with_changes(snapshot: Snapshot, changes: Sequence[Change]) -> Snapshot:
    """Return a new snapshot with changes applied; the given one does not change.

    Args:
        snapshot: the current one.
        changes: in order; the vectors of items are semantic vectors of the snapshot's bundle. A patch or removal of an
            item that is not in the catalogue has no effect.
    """
    edition = _Edition(snapshot)
    for change in changes:
        edition.apply(change)
    return edition.finish()


class _Edition:
    """Collects the effect of changes on a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._before = snapshot
        self._rows = snapshot.delta_rows.mutate()
        self._explicit = snapshot.given_categories.mutate()
        self._put: list[PutItem] = []
        self._hidden: set[int] = set()
        self._available: dict[int, bool] = {}
        """Row -> the last availability that a change set."""
        self._into: dict[str, dict[int, None]] = {}
        self._out_of: dict[str, dict[int, None]] = {}
        self._num_added = snapshot.num_added

    def apply(self, change: Change) -> None:
        row = self._row(change.id)
        if isinstance(change, PutItem):
            if row is not None and self._is_same(row, change):
                self._patch(row, change)
            else:
                self._replace(row, change)
        elif row is not None:
            if isinstance(change, PatchItem):
                self._patch(row, change)
            elif isinstance(change, RemoveItem):
                self._remove(row, change.id)

    def finish(self) -> Snapshot:
        before = self._before
        delta = before.delta
        if self._put:
            ids = [put.id for put in self._put]
            vectors = item_vectors(before.bundle, ids, np.stack([put.embedded.vector for put in self._put]))
            delta = delta.with_items(
                ids, [put.attributes_json for put in self._put], vectors, [self._popularity(item_id) for item_id in ids]
            )
        return replace(
            before,
            delta=delta,
            delta_rows=self._rows.finish(),
            visibility=self._visibility(),
            category_rows=before.category_rows.changed(self._into, self._out_of),
            given_categories=self._explicit.finish(),
            num_added=self._num_added,
        )

    def _visibility(self) -> Visibility:
        before = self._before.visibility
        hidden = before.hidden.changed(self._hidden)
        closed = [row for row, available in self._available.items() if not available and row not in before.unavailable]
        opened = [row for row, available in self._available.items() if available and row in before.unavailable]
        unavailable = before.unavailable.changed(closed, opened)
        if hidden is before.hidden and unavailable is before.unavailable:
            return before
        return Visibility(hidden, unavailable)

    def _row(self, item_id: str) -> int | None:
        row = self._rows.get(item_id)
        if row is None:
            row = self._before.table.rows.get(item_id)
        gone = row is None or row in self._hidden or row in self._before.visibility.hidden
        return None if gone else row

    def _text(self, row: int) -> str:
        place = row - self._before.num_rows
        return self._before.attributes_json(row) if place < 0 else self._put[place].attributes_json

    def _is_available(self, row: int) -> bool:
        said = self._available.get(row)
        return self._before.available(row) if said is None else said

    def _categories(self, item_id: str, row: int) -> tuple[str, ...]:
        given = self._explicit.get(item_id)
        return self._before.own_categories(self._text(row)) if given is None else given

    def _is_same(self, row: int, put: PutItem) -> bool:
        """Return whether a row has these attributes and their vector; then the item needs no second row."""
        if self._text(row) != put.attributes_json:
            return False
        place = row - self._before.num_rows
        if place >= 0:
            return np.array_equal(self._put[place].embedded.vector, put.embedded.vector)
        return np.array_equal(self._before.vector(row), self._item_vector(put)) and self._before.source(row) == "added"

    def _item_vector(self, put: PutItem) -> Array:
        vector: Array = item_vectors(self._before.bundle, [put.id], put.embedded.vector[None])[0]
        return vector

    def _popularity(self, item_id: str) -> int:
        items = self._before.bundle.items
        row = items.rows.get(item_id)
        return 0 if row is None else int(items.popularity[row])

    def _is_added(self, row: int) -> bool:
        return row >= self._before.num_rows or self._before.source(row) == "added"

    def _replace(self, old: int | None, put: PutItem) -> None:
        row = self._before.num_rows + len(self._put)
        available = put.available
        if old is not None:
            available = self._is_available(old) if available is None else available
            self._hidden.add(old)
        self._num_added += 0 if old is not None and self._is_added(old) else 1
        self._put.append(put)
        self._rows[put.id] = row
        if put.categories is not None:
            self._explicit[put.id] = put.categories
        if available is False:
            self._available[row] = False
        for category in dict.fromkeys(self._categories(put.id, row)):
            self._into.setdefault(category, {})[row] = None

    def _patch(self, row: int, change: PutItem | PatchItem) -> None:
        if change.available is not None:
            self._available[row] = change.available
        if change.categories is None:
            return
        before, after = set(self._categories(change.id, row)), set(change.categories)
        self._explicit[change.id] = change.categories
        for category in before - after:
            self._move(category, row, self._into, self._out_of)
        for category in after - before:
            self._move(category, row, self._out_of, self._into)

    @staticmethod
    def _move(category: str, row: int, undo: dict[str, dict[int, None]], do: dict[str, dict[int, None]]) -> None:
        if row in (undone := undo.get(category, {})):
            del undone[row]
        else:
            do.setdefault(category, {})[row] = None

    def _remove(self, row: int, item_id: str) -> None:
        self._hidden.add(row)
        self._num_added -= self._is_added(row)
        self._rows.pop(item_id, None)
        self._explicit.pop(item_id, None)


MAX_HIDDEN_SHARE = 0.25
CHUNK_ROWS = 10_000
"""Rows that are copied in one step; other threads can run between two steps."""


def is_due(snapshot: Snapshot, fold_items: int) -> bool:
    """Return whether a snapshot has too many rows outside its index, or too many hidden rows."""
    return snapshot.num_rows - len(snapshot.segment) > fold_items or (
        len(snapshot.visibility.hidden) > fold_items and wants_compaction(snapshot)
    )


def wants_compaction(snapshot: Snapshot) -> bool:
    """Return whether more than `MAX_HIDDEN_SHARE` of the rows are hidden."""
    return len(snapshot.visibility.hidden) > MAX_HIDDEN_SHARE * snapshot.num_rows


def extended_segment(snapshot: Snapshot) -> SegmentIndex:
    """Return an index over all rows of a snapshot; it is valid for every later snapshot with the same base."""
    fresh = snapshot.delta.vectors.rows[len(snapshot.segment) - len(snapshot.table) :]
    return snapshot.segment.extended(fresh)


def compacted(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of the same items in new rows: none is hidden, all are in the base and the index."""
    kept = np.flatnonzero(~snapshot.visibility.hidden.mask(0, snapshot.num_rows))
    table = _table(snapshot, kept)
    by_category: dict[str, list[int]] = {}
    for row, item_id in enumerate(table.ids):
        given = snapshot.given_categories.get(item_id)
        for category in snapshot.own_categories(table.attributes_json[row]) if given is None else given:
            by_category.setdefault(category, []).append(row)
    unavailable = RowSet(snapshot.visibility.unavailable.mask(0, snapshot.num_rows)[kept])
    return replace(
        snapshot,
        table=table,
        delta=Delta.empty(snapshot.bundle.space.width),
        delta_rows=immutables.Map(),
        visibility=Visibility(unavailable=unavailable),
        category_rows=CategoryRows.of(by_category),
        segment=snapshot.segment.rebuilt(table.vectors),
    )


def _table(snapshot: Snapshot, kept: Rows) -> Table:
    ids: list[str] = []
    attributes_json: list[str] = []
    rows: dict[str, int] = {}
    for first in range(0, len(kept), CHUNK_ROWS):
        chunk = kept[first : first + CHUNK_ROWS].tolist()
        ids.extend(map(snapshot.item_id, chunk))
        attributes_json.extend(map(snapshot.attributes_json, chunk))
        rows.update(zip(ids[first:], range(first, len(ids)), strict=True))
    old = snapshot.table
    in_delta = np.ones(len(snapshot.delta), dtype=np.bool_)
    table = Table(
        ids=ids,
        rows=rows,
        attributes_json=attributes_json,
        vectors=snapshot.vectors(kept),
        popularity=np.concatenate([old.popularity, snapshot.delta.popularity.rows])[kept],
        added=np.concatenate([old.added, in_delta])[kept],
    )
    _ = table.by_popularity  # cached now, so that the first request does not wait for it
    return table
