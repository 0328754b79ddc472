"""Folding: what has gathered beside the index goes into it, and hidden rows go for good.

Both make a snapshot with the same items, vectors and scores, slowly and in a thread of its own.
"""

from dataclasses import replace

import immutables
import numpy as np

from llmemb.index import Rows
from service.catalogue.delta import Delta
from service.catalogue.filters import Visibility
from service.catalogue.row_sets import CategoryRows, RowSet
from service.catalogue.segment import SegmentIndex
from service.catalogue.snapshot import Snapshot
from service.catalogue.table import Table

MOST_HIDDEN_SHARE = 0.25
CHUNK_ROWS = 10_000
"""Rows between which other threads get their turn."""


def is_due(snapshot: Snapshot, fold_items: int) -> bool:
    """Say whether a snapshot has more rows beside its index, or more hidden ones, than it should."""
    return snapshot.num_rows - len(snapshot.segment) > fold_items or (
        len(snapshot.visibility.hidden) > fold_items and wants_compaction(snapshot)
    )


def wants_compaction(snapshot: Snapshot) -> bool:
    """Say whether more than a quarter of the rows is hidden."""
    return len(snapshot.visibility.hidden) > MOST_HIDDEN_SHARE * snapshot.num_rows


def extended_segment(snapshot: Snapshot) -> SegmentIndex:
    """Return an index over all rows of a snapshot; it fits every later one with the same base."""
    fresh = snapshot.delta.vectors.rows[len(snapshot.segment) - len(snapshot.table) :]
    return snapshot.segment.extended(fresh)


def compacted(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of the same items in new rows, none of them hidden, all of them in base and index."""
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
    _ = table.by_popularity  # made here, and not when the first answer needs it
    return table
