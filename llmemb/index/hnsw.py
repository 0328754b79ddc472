"""HNSW: a graph of near neighbours, walked towards the greatest inner product.

Vectors are linked by their directions, and the walk goes by inner product. A graph that is linked by inner products
leads to long vectors and leaves many short ones out of reach, which no effort finds and a filter may ask for; the
reduction to distances by one more component needs several times the effort.
"""

from typing import Any

import numpy as np

from llmemb.index.approximate import ApproximateSearch
from llmemb.index.hits import Array, Hits, Rows, best_hits, in_order
from llmemb.index.library import faiss
from llmemb.index.scoring import score_candidates, score_rows, table_of
from llmemb.index.spec import HnswParameters

_CANDIDATES_PER_ROW = 4
"""Candidates that a search keeps for each row it fetches, beside those it keeps anyway: as deep, so good. Measured."""
_ROWS_PER_CANDIDATE = 20
"""Rows that are scored in a table in the time that a search takes for one candidate. Measured."""


class HnswSearch(ApproximateSearch):
    """Search in a FAISS `IndexHNSWFlat`."""

    def __init__(self, index: Any, parameters: HnswParameters) -> None:
        super().__init__(index)
        self._ef_search = parameters.ef_search
        self._table = table_of(faiss.downcast_index(index.storage))

    def _candidates(self, reach: int) -> int:
        return self._ef_search + _CANDIDATES_PER_ROW * reach

    def _nearest(self, queries: Array, reach: int) -> tuple[Array, Rows]:
        parameters = faiss.SearchParametersHNSW(efSearch=self._candidates(reach))
        _, rows = self._index.search(queries, reach, params=parameters)
        # The graph's own scores depend on the order of the walk in their last bits.
        return in_order(score_candidates(self._table, queries, rows), rows)

    def _exact(self, query: Array, rows: Rows, k: int) -> Hits:
        return best_hits(rows, score_rows(self._table, query, rows), k)

    def _rows_for(self, reach: int) -> int:
        return _ROWS_PER_CANDIDATE * self._candidates(reach)


def build_hnsw(vectors: Array, parameters: HnswParameters) -> Any:
    """Return a FAISS index that holds a copy of `(N, D)`."""
    index = faiss.IndexHNSWFlat(vectors.shape[1], parameters.neighbours, faiss.METRIC_L2)
    index.hnsw.efConstruction = parameters.ef_construction
    index.hnsw.efSearch = parameters.ef_search
    index.add(_directions(vectors))
    _take(index, vectors, by_direction=False)
    return index


def grow_hnsw(index: Any, more: Array) -> Any:
    """Return a copy of an index that `build_hnsw` made, with `(n, D)` linked into it."""
    grown = faiss.clone_index(index)
    vectors = np.concatenate([table_of(faiss.downcast_index(index.storage)), more])
    _take(grown, _directions(vectors[: index.ntotal]), by_direction=True)
    grown.add(_directions(more))
    _take(grown, vectors, by_direction=False)
    return grown


def _take(index: Any, vectors: Array, *, by_direction: bool) -> None:
    """Give the graph these vectors in place of its own, to be compared by distance or by inner product."""
    storage = faiss.downcast_index(index.storage)
    table_of(storage)[:] = vectors
    index.metric_type = storage.metric_type = faiss.METRIC_L2 if by_direction else faiss.METRIC_INNER_PRODUCT
    index.hnsw.is_similarity = not by_direction


def _directions(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=directions, where=lengths > 0)
    return directions
