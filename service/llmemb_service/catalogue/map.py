"""The map of the catalogue as JSON, computed once for each snapshot."""

import asyncio
import json
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters
from llmemb.index import Rows, spread_rows
from llmemb.item_map import laid_out_rows, place_near_neighbours
from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.snapshot.snapshot import Snapshot

DIGITS = 4
"""Decimal places of a coordinate. The map is two units wide, so a screen cannot show more."""
NO_CATEGORY = -1


@dataclass(frozen=True, slots=True, eq=False)
class MapPoints:
    """Some items of a snapshot with their coordinates; entry n of every column belongs to the same item."""

    snapshot: Snapshot
    rows: Rows
    positions: NDArray[np.float64]
    """`(n, 2)`."""
    categories: Sequence[str]
    """Names, the most frequent first."""
    category: Sequence[int]
    """Index of each item's first category in `categories`, or `NO_CATEGORY`."""

    @classmethod
    def of(cls, snapshot: Snapshot, limit: int) -> "MapPoints":
        """Position every item, or `limit` of them spread evenly over the rows. Reads their vectors: use a thread."""
        rows = np.flatnonzero(snapshot.selection(Filters(available=None), ()).mask(0, snapshot.num_rows))
        rows = rows[spread_rows(len(rows), limit)]
        first = [next(iter(snapshot.categories(row)), None) for row in rows.tolist()]
        categories = [name for name, _ in Counter(name for name in first if name is not None).most_common()]
        numbers: dict[str | None, int] = {name: number for number, name in enumerate(categories)}
        return cls(
            snapshot=snapshot,
            rows=rows,
            positions=_positions(snapshot, rows),
            categories=categories,
            category=[numbers.get(name, NO_CATEGORY) for name in first],
        )


def _positions(snapshot: Snapshot, rows: Rows) -> NDArray[np.float64]:
    """Return the positions `(n, 2)` of rows: those of the bundle, or near the neighbours for an added item."""
    bundle, dim = snapshot.bundle, snapshot.bundle.space.dim
    bundle_rows = bundle.items.rows
    is_added = np.array([snapshot.source(row) == "added" for row in rows.tolist()], dtype=np.bool_)
    positions = np.empty((len(rows), bundle.map_positions.shape[1]), dtype=np.float64)
    positions[~is_added] = bundle.map_positions[
        [bundle_rows[snapshot.item_id(row)] for row in rows[~is_added].tolist()]
    ]
    if is_added.any():
        laid_out = laid_out_rows(len(bundle.items.ids))
        embeddings = bundle.item_vectors[laid_out, :dim]
        positions[is_added] = place_near_neighbours(
            snapshot.vectors(rows[is_added])[:, :dim], embeddings, bundle.map_positions[laid_out]
        )
    return positions.round(DIGITS)


CHUNK = 2048
"""Values that one `json.dumps` writes. It does not release the GIL, so a whole column would block other threads."""


class MapCache:
    """Computes the map of one catalogue, one at a time, and caches the last one.

    Args:
        catalogue: its current snapshot is mapped.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._computing = asyncio.Lock()
        self._last: tuple[weakref.ref[Snapshot], int, bytes] | None = None

    async def json(self, limit: int) -> bytes:
        """Return the answer of `GET /map` with at most `limit` points."""
        async with self._computing:
            snapshot = self._catalogue.snapshot
            if self._last is None or self._last[0]() is not snapshot or self._last[1] != limit:
                content = await asyncio.to_thread(lambda: map_json(MapPoints.of(snapshot, limit)))
                # A weak reference: a strong one would keep the old table and index in memory after a compaction.
                self._last = (weakref.ref(snapshot), limit, content)
            return self._last[2]


def map_json(points: MapPoints) -> bytes:
    """Write the answer of `GET /map`."""
    snapshot = points.snapshot
    rows = points.rows.tolist()
    columns: dict[str, Sequence[object]] = {
        "categories": points.categories,
        "ids": [snapshot.item_id(row) for row in rows],
        "x": points.positions[:, 0].tolist(),
        "y": points.positions[:, 1].tolist(),
        "popularity": [snapshot.popularity(row) for row in rows],
        "category": points.category,
    }
    head = json.dumps({"bundle_id": snapshot.bundle.manifest.id, "total": len(snapshot)})[:-1]
    written = (f',"{name}":[{",".join(_chunks(values))}]' for name, values in columns.items())
    return f"{head}{''.join(written)}}}".encode()


def _chunks(values: Sequence[object]) -> Iterator[str]:
    for start in range(0, len(values), CHUNK):
        yield json.dumps(values[start : start + CHUNK], separators=(",", ":"))[1:-1]
