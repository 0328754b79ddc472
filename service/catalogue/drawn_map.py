"""The map of the catalogue as JSON, made once for each state of the catalogue. A test holds it to `MapResponse`."""

import asyncio
import json
import weakref
from collections.abc import Iterator, Sequence

from service.catalogue.catalogue import Catalogue
from service.catalogue.map_points import MapPoints
from service.catalogue.snapshot import Snapshot

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
