"""The exact index: every row that passes is compared."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from llmemb.index.hits import Array, Hits, best_hits
from llmemb.index.library import faiss
from llmemb.index.row_filter import RowFilter
from llmemb.index.scoring import rough_products, score_rows, table_of

_PRODUCT_SHARE = 0.25
"""From this share of passing rows on a query takes part in the batch's matrix product; below, its rows are scored one
by one. Measured by `benchmarks/index_search.py`."""
_PRODUCT_SCORES = 2**24
"""Scores of one matrix product, at most: 64 MiB."""
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
        together = []
        for i, row_filter in enumerate(filters):
            if row_filter.mask is None or row_filter.count(num_rows) >= _PRODUCT_SHARE * num_rows:
                together.append(i)
            else:
                rows = row_filter.passing(num_rows)
                hits[i] = best_hits(rows, score_rows(self._table, queries[i], rows), ks[i])
        step = max(1, _PRODUCT_SCORES // max(1, num_rows))
        for start in range(0, len(together), step):
            part = together[start : start + step]
            scores = rough_products(queries[part], self._table)
            for i, row_scores in zip(part, scores, strict=True):
                hits[i] = self._best(queries[i], row_scores, ks[i], filters[i])
        return hits

    def _best(self, query: Array, scores: Array, k: int, row_filter: RowFilter) -> Hits:
        """Return the k best that pass, by a first look `scores` `(N,)`, which is overwritten."""
        scores[row_filter.excluded] = -np.inf
        passing = None if row_filter.mask is None else np.flatnonzero(row_filter.mask)
        if passing is not None:
            scores = scores[passing]
        k = min(k, row_filter.count(len(self._table)))
        if k == 0:
            return Hits.none()
        worst = np.partition(scores, len(scores) - k)[len(scores) - k]
        near = np.flatnonzero(scores >= worst - _ROUNDING * np.linalg.norm(query) * self._longest)
        rows = near if passing is None else passing[near]
        return best_hits(rows, score_rows(self._table, query, rows), k)

    @cached_property
    def _longest(self) -> float:
        """Length of the longest vector."""
        return float(np.sqrt(np.einsum("nd,nd->n", self._table, self._table).max(initial=0)))


def build_flat(vectors: Array) -> Any:
    """Return a FAISS index that holds a copy of `(N, D)`."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index
