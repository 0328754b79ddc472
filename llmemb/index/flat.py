"""The exact index: every row that passes is compared."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from llmemb.index.hits import (
    Array,
    Hits,
    RowFilter,
    Rows,
    best_hits,
    best_of_each,
    in_order,
    rough_products,
    score_candidates,
    score_rows,
    table_of,
)
from llmemb.index.library import faiss

_PRODUCT_SHARE = 0.25
"""From this share of passing rows on a query takes part in the batch's matrix product; below, its rows are scored one
by one. Measured by `benchmarks/index_search.py`."""
_PRODUCT_SCORES = 2**23
"""Scores of one matrix product, at most: 32 MiB."""
_MARGIN = 6
"""Rows that are looked at past the k best, for those of nearly the same score."""
_ROUNDING = 1e-5
"""A bound on how far a matrix product's entry is from the exact score, over the product of the two lengths."""


class FlatSearch:
    """Exact search in a FAISS `IndexFlatIP`."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._table = table_of(index)

    def search(self, queries: Array, ks: Sequence[int], filters: Sequence[RowFilter]) -> list[Hits]:
        """Answer as `ItemIndex.search` says."""
        num_rows = len(self._table)
        hits = [Hits.none()] * len(queries)
        if not num_rows:
            return hits
        together = []
        for i, row_filter in enumerate(filters):
            if row_filter.mask is None or row_filter.count(num_rows) >= _PRODUCT_SHARE * num_rows:
                together.append(i)
            else:
                rows = row_filter.passing(num_rows)
                hits[i] = best_hits(rows, score_rows(self._table, queries[i], rows), ks[i])
        step = max(1, _PRODUCT_SCORES // num_rows)
        for start in range(0, len(together), step):
            part = together[start : start + step]
            found = self._best(queries[part], [ks[i] for i in part], [filters[i] for i in part])
            for i, each in zip(part, found, strict=True):
                hits[i] = each
        return hits

    def _best(self, queries: Array, ks: Sequence[int], filters: Sequence[RowFilter]) -> list[Hits]:
        """Return the k best that pass, for each of B queries, which are compared with every row together."""
        scores = rough_products(queries, self._table)  # (B, N)
        for row_scores, row_filter in zip(scores, filters, strict=True):
            if row_filter.mask is not None:
                row_scores[~row_filter.mask] = -np.inf
            row_scores[row_filter.excluded] = -np.inf
        rows = self._first_look(queries, scores, max(ks))
        exact, rows = in_order(score_candidates(self._table, queries, rows), rows)
        lengths = np.minimum(np.count_nonzero(rows >= 0, axis=1), ks).tolist()
        return [Hits(rows[i, :length], exact[i, :length]) for i, length in enumerate(lengths)]

    def _first_look(self, queries: Array, scores: Array, k: int) -> Rows:
        """Return all rows that may be among the k best by their exact scores, `(B, n)`; -1 where there are no more.

        Args:
            queries: `(B, D)`.
            scores: `(B, N)`, as a matrix product rounds them; minus infinity where a row does not pass.
            k: at least 1.
        """
        k, width = min(k, scores.shape[1]), min(k + _MARGIN, scores.shape[1])
        slack = _ROUNDING * np.linalg.norm(queries, axis=1) * self._longest
        while True:
            found, rows = best_of_each(scores, width)
            least = found[:, k - 1] - slack
            # Where the last that was found is near the k-th, more of them may be; where it does not pass, none is left.
            if width == scores.shape[1] or not np.any((found[:, -1] >= least) & (found[:, -1] > -np.inf)):
                rows[(found < least[:, None]) | (found == -np.inf)] = -1
                return rows
            width = min(4 * width, scores.shape[1])

    @cached_property
    def _longest(self) -> float:
        """Length of the longest vector."""
        return float(np.sqrt(np.einsum("nd,nd->n", self._table, self._table).max(initial=0)))


def build_flat(vectors: Array) -> Any:
    """Return a FAISS index that holds a copy of `(N, D)`."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index
