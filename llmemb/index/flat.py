"""The exact index: every row that passes is compared."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from llmemb.index.hits import Array, Hits, best_hits
from llmemb.index.library import faiss
from llmemb.index.row_filter import RowFilter
from llmemb.index.scoring import rough_products, score_candidates, score_rows, table_of, worst_of_best

_PRODUCT_SHARE = 0.25
"""From this share of passing rows on a query takes part in the batch's matrix product; below, its rows are scored one
by one. Measured by `benchmarks/index_search.py`."""
_PRODUCT_SCORES = 2**23
"""Scores of one matrix product, at most: 32 MiB."""
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
        worst = worst_of_best(scores, max(ks)) - _ROUNDING * np.linalg.norm(queries, axis=1) * self._longest
        near, rows = np.nonzero((scores >= worst[:, None]) & (scores > -np.inf))
        counts = np.bincount(near, minlength=len(queries))
        candidates = np.full((len(queries), counts.max()), -1, dtype=np.int64)  # (B, n)
        candidates[near, np.arange(len(near)) - np.repeat(np.cumsum(counts) - counts, counts)] = rows
        exact = score_candidates(self._table, queries, candidates)
        order = np.lexsort((candidates, -exact))[:, : max(ks)]
        candidates, exact = np.take_along_axis(candidates, order, 1), np.take_along_axis(exact, order, 1)
        lengths = np.minimum(counts, ks).tolist()
        return [Hits(candidates[i, :length], exact[i, :length]) for i, length in enumerate(lengths)]

    @cached_property
    def _longest(self) -> float:
        """Length of the longest vector."""
        return float(np.sqrt(np.einsum("nd,nd->n", self._table, self._table).max(initial=0)))


def build_flat(vectors: Array) -> Any:
    """Return a FAISS index that holds a copy of `(N, D)`."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index
