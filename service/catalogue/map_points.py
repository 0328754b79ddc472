"""The catalogue as points of its map, see `llmemb/item_map.py`. `n` points, `d` width of item embeddings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters
from llmemb.index import Rows
from service.catalogue.snapshot import Snapshot

DIGITS = 4
"""Of a coordinate, behind the point: the map is two wide, so a screen shows no more of them."""
NO_CATEGORY = -1
CHUNK_ROWS = 4096
"""Rows whose vectors are copied at once."""


@dataclass(frozen=True, slots=True, eq=False)
class MapPoints:
    """Some items of a snapshot, each with its place; the n-th of every column is of the same item."""

    snapshot: Snapshot
    rows: Rows
    places: NDArray[np.float64]
    """`(n, 2)`."""
    categories: Sequence[str]
    """The most frequent first."""
    category: Sequence[int]
    """Of each item, the place of its first category in `categories`."""

    @classmethod
    def of(cls, snapshot: Snapshot, limit: int) -> "MapPoints":
        """Place every item, or `limit` of them, spread evenly over the rows. It reads their vectors: in a thread."""
        rows = np.flatnonzero(snapshot.selection(Filters(available=None), ()).mask(0, snapshot.num_rows))
        if len(rows) > limit:
            rows = rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]
        first = [next(iter(snapshot.categories(row)), None) for row in rows.tolist()]
        categories = [name for name, _ in Counter(name for name in first if name is not None).most_common()]
        numbers: dict[str | None, int] = {name: number for number, name in enumerate(categories)}
        return cls(
            snapshot=snapshot,
            rows=rows,
            places=_places(snapshot, rows),
            categories=categories,
            category=[numbers.get(name, NO_CATEGORY) for name in first],
        )


def _places(snapshot: Snapshot, rows: Rows) -> NDArray[np.float64]:
    """Return the places `(n, 2)` of rows."""
    item_map, dim = snapshot.bundle.item_map, snapshot.bundle.space.dim
    chunks = [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]
    placed = [item_map.apply(snapshot.vectors(chunk)[:, :dim]) for chunk in chunks]
    places = np.concatenate(placed) if placed else np.empty((0, item_map.dim), dtype=np.float32)
    return places.astype(np.float64).round(DIGITS)
