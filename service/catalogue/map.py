"""The map of the catalogue as JSON, made once for each state of the catalogue."""

import asyncio
import json
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters
from llmemb.index import Rows
from service.catalogue.catalogue import Catalogue
from service.catalogue.snapshot.snapshot import Snapshot

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


CHUNK = 2048
"""Values that are written by one call, which lets nothing else run: a column as a whole would take long."""


class DrawnMap:
    """Draws the map of one catalogue, one at a time, and keeps the last one.

    Args:
        catalogue: drawn as it is when it is asked.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._drawing = asyncio.Lock()
        self._last: tuple[weakref.ref[Snapshot], int, bytes] | None = None

    async def json(self, limit: int) -> bytes:
        """Return the answer of `GET /map` with at most `limit` points."""
        async with self._drawing:
            snapshot = self._catalogue.snapshot
            if self._last is None or self._last[0]() is not snapshot or self._last[1] != limit:
                content = await asyncio.to_thread(lambda: map_json(MapPoints.of(snapshot, limit)))
                # Not the snapshot itself: after a compaction the old table and index would stay in memory.
                self._last = (weakref.ref(snapshot), limit, content)
            return self._last[2]


def map_json(points: MapPoints) -> bytes:
    """Write the answer of `GET /map`."""
    snapshot = points.snapshot
    item_map = snapshot.bundle.item_map
    rows = points.rows.tolist()
    columns: dict[str, Sequence[object]] = {
        "weight": item_map.weight.tolist(),
        "bias": item_map.bias.tolist(),
        "categories": points.categories,
        "ids": [snapshot.item_id(row) for row in rows],
        "x": points.places[:, 0].tolist(),
        "y": points.places[:, 1].tolist(),
        "popularity": [snapshot.popularity(row) for row in rows],
        "category": points.category,
    }
    head = json.dumps({"bundle_id": snapshot.bundle.manifest.id, "total": len(snapshot)})[:-1]
    written = (f',"{name}":[{",".join(_chunks(values))}]' for name, values in columns.items())
    return f"{head}{''.join(written)}}}".encode()


def _chunks(values: Sequence[object]) -> Iterator[str]:
    for start in range(0, len(values), CHUNK):
        yield json.dumps(values[start : start + CHUNK], separators=(",", ":"))[1:-1]
