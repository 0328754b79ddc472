"""What every index takes and returns: rows that a query may get, exact scores by one arithmetic, hits, best first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.index.library import faiss

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


def spread_rows(num_rows: int, maximum: int) -> Rows:
    """Return the rows from 0 to `num_rows - 1`: all, or `maximum` of them, evenly spread."""
    return np.linspace(0, num_rows - 1, min(num_rows, maximum)).astype(np.int64)


def merge_hits(parts: Sequence[Hits], k: int) -> Hits:
    """Merge answers of several indexes, their rows made distinct by the caller, into the k best."""
    rows = np.concatenate([part.rows for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return best_hits(rows, scores, k)


@dataclass(frozen=True, slots=True, eq=False)
class RowFilter:
    """The rows that pass a mask and are not excluded.

    Args:
        mask: `(N,)`, true for a row that passes; None: all pass.
        excluded: further rows that do not pass, ascending, distinct, each a row of the index.
    """

    mask: NDArray[np.bool_] | None = None
    excluded: Rows = field(default_factory=lambda: NO_ROWS)

    def count(self, num_rows: int) -> int:
        """Return how many of `num_rows` rows pass."""
        passing = num_rows if self.mask is None else int(np.count_nonzero(self.mask))
        return passing - (len(self.excluded) if self.mask is None else int(np.count_nonzero(self.mask[self.excluded])))

    def passing(self, num_rows: int) -> Rows:
        """Return the passing rows of `num_rows` rows, in order."""
        if self.mask is None:
            return np.delete(np.arange(num_rows), self.excluded)
        rows = np.flatnonzero(self.mask)
        return rows[~np.isin(rows, self.excluded)] if len(self.excluded) else rows

    def first(self, rows: Rows, k: int) -> slice | Rows | None:
        """Return the positions of the first k passing rows, None if fewer pass; -1 is no row.

        Args:
            rows: `(n,)`, every -1 after all rows.
            k: at least 1.
        """
        if self.mask is None and not len(self.excluded):
            return slice(k) if k <= len(rows) and rows[k - 1] >= 0 else None
        passing = rows >= 0
        if self.mask is not None:
            passing &= self.mask[rows]
        if len(self.excluded):
            passing &= self.excluded.take(self.excluded.searchsorted(rows), mode="clip") != rows
        positions = passing.nonzero()[0][:k]
        return positions if len(positions) == k else None


def table_of(flat: Any) -> Array:
    """Return the vectors `(N, D)` in a FAISS flat index, without a copy; the index must outlive them."""
    if flat.ntotal == 0:
        return np.empty((0, flat.d), dtype=np.float32)
    table: Array = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return table


def score_rows(table: Array, query: Array, rows: Rows) -> Array:
    """Return the inner products `(n,)` of a query `(D,)` with n rows of a table.

    Args:
        table: `(N, D)`, contiguous.
        query: contiguous.
        rows: contiguous, each below N.
    """
    scores: Array = score_candidates(table, query[None], rows[None])[0]
    return scores


def score_candidates(table: Array, queries: Array, rows: Rows) -> Array:
    """Return the inner products `(B, n)` of each query with its own n rows of a table.

    Args:
        table: `(N, D)`, contiguous.
        queries: `(B, D)`, contiguous.
        rows: `(B, n)`, contiguous, each below N; -1 is no row, and its score is minus infinity.
    """
    scores = np.empty(rows.shape, dtype=np.float32)
    if rows.size:
        faiss.fvec_inner_products_by_idx(
            *map(faiss.swig_ptr, (scores, queries, table, rows)), table.shape[1], *rows.shape
        )
    return scores


def rough_products(queries: Array, table: Array) -> Array:
    """Return the inner products `(B, N)` of queries `(B, D)` with all rows, as a matrix product rounds them.

    By torch, which respects the thread limit of the calling thread; NumPy uses every core.
    """
    products: Array = (torch.from_numpy(queries) @ torch.from_numpy(table).T).numpy()
    return products


def best_of_each(scores: Array, k: int) -> tuple[Array, Rows]:
    """Return the k greatest values of each row of `(B, N)`, descending, and their columns; `(B, k)`, k at most N."""
    best = torch.from_numpy(scores).topk(k)
    return best.values.numpy(), best.indices.numpy()
