"""Which items recommendations reach: by kind, and what share of the catalogue.

A recommender that shows the same few items over and over looks healthy by every other metric.
"""

import math
import weakref
from typing import Literal

from service.catalogue.snapshot import Snapshot
from service.ranking.recommendation import Recommendation
from service.sight.metrics import Metrics

Kind = Literal["head", "tail", "cold", "added", "fallback"]
KINDS: tuple[Kind, ...] = ("head", "tail", "cold", "added", "fallback")
MAX_REMEMBERED = 100_000
"""Rows whose kinds are remembered."""


class Reach:
    """Counts what one bundle recommends.

    Args:
        bundle_id: named in the metrics.
        metrics: told.
    """

    def __init__(self, bundle_id: str, metrics: Metrics) -> None:
        self._distinct = DistinctIds()
        self._fallbacks = metrics.fallbacks
        self._items = {kind: metrics.recommended_items.labels(bundle_id, kind) for kind in KINDS}
        self._coverage = metrics.coverage.labels(bundle_id)
        self._snapshot: weakref.ref[Snapshot] | None = None
        """Weak: after a compaction the old table and index would stay in memory until the next recommendation."""
        self._kinds: dict[int, Kind] = {}  # of rows of that snapshot: nearly all items come again and again

    def count(self, recommendation: Recommendation) -> None:
        """Count an answer that a shopper gets."""
        snapshot = recommendation.snapshot
        if self._snapshot is None or self._snapshot() is not snapshot or len(self._kinds) > MAX_REMEMBERED:
            self._snapshot, self._kinds = weakref.ref(snapshot), {}
        rows = recommendation.rows.tolist()
        kinds = [self._kinds.get(row) or self._remember(snapshot, row) for row in rows]
        if recommendation.by_popularity:
            self._fallbacks.inc()
            self._items["fallback"].inc(len(rows))
            return
        for kind in set(kinds):
            self._items[kind].inc(kinds.count(kind))

    def _remember(self, snapshot: Snapshot, row: int) -> Kind:
        """Return the kind of an item whose row is not remembered, and count it into the coverage."""
        kind = self._kinds[row] = kind_of(snapshot, row)
        if self._distinct.add(snapshot.item_id(row)):
            self._coverage.set(min(1.0, self._distinct.estimate() / len(snapshot)))
        return kind


def kind_of(snapshot: Snapshot, row: int) -> Kind:
    """Return an item's kind: added since training or changed, without interactions, among the 80 % with few, or not."""
    if snapshot.source(row) == "added":
        return "added"
    if snapshot.is_cold(row):
        return "cold"
    return "tail" if snapshot.is_tail(row) else "head"


class DistinctIds:
    """Says roughly how many different ids it was given, in a megabyte however many there were.

    Each id sets one of M bits; of the share that is still unset follows the number (linear counting, Whang et al.
    1990): exact to a few ids up to some ten thousand, within 1 % up to ten million.
    """

    def __init__(self, bits: int = 2**23) -> None:
        self._number = bits
        self._bits = bytearray(bits // 8)
        self._set = 0

    def add(self, item_id: str) -> bool:
        """Take an id in; false where it certainly, or by a rare coincidence, was there before."""
        place, bit = divmod(hash(item_id) % self._number, 8)
        if self._bits[place] >> bit & 1:
            return False
        self._bits[place] |= 1 << bit
        self._set += 1
        return True

    def estimate(self) -> float:
        """Return the number of different ids."""
        unset = max(1, self._number - self._set)
        return -self._number * math.log(unset / self._number)
