"""Answers of an index: rows and scores, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Hits:
    """One query's answer, the best first: item rows `(k,)` int64 and scores `(k,)` float32."""

    rows: Rows
    scores: Array

    @classmethod
    def none(cls) -> "Hits":
        """Return the answer without any row."""
        return cls(NO_ROWS, np.empty(0, dtype=np.float32))


def best_hits(rows: Rows, scores: Array, k: int) -> Hits:
    """Return the k best, equal scores in the order of their rows.

    Args:
        rows: `(n,)`, in any order.
        scores: `(n,)`.
        k: all come where there are no more.
    """
    if k == 0:
        return Hits.none()
    if k < len(scores):
        # Sorting all would cost more than the scores did; every row that ties with the k-th stays.
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return Hits(rows[order], scores[order])


def in_order(scores: Array, rows: Rows) -> tuple[Array, Rows]:
    """Sort each query's rows, both `(B, n)`: the best first, equal scores in the order of their rows."""
    order = np.lexsort((rows, -scores))
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def merge_hits(parts: Sequence[Hits], k: int) -> Hits:
    """Merge answers of several indexes, their rows made distinct by the caller, into the k best."""
    rows = np.concatenate([part.rows for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return best_hits(rows, scores, k)
