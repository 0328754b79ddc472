"""HNSW and IVF: indexes that look at some rows, and still answer with the k best that pass a filter."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from llmemb.index.hits import Array, Hits, RowFilter, Rows, best_hits, in_order, score_candidates, score_rows, table_of
from llmemb.index.library import faiss
from llmemb.index.spec import MEASURED_K, HnswParameters, IvfParameters

_EXACT_SHARE = 1 / 16
"""Up to this share of passing rows they are compared exactly: deeper fetches lose recall, and soon cost as much."""
_LARGEST_REACH = 1024
"""Rows that are fetched for a query, at most, where k asks for no more."""


class ApproximateSearch(ABC):
    """What HNSW and IVF share."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._num_rows = int(index.ntotal)

    @abstractmethod
    def _nearest(self, queries: Array, reach: int) -> tuple[Array, Rows]:
        """Return scores and rows `(B, reach)` of the best that the index finds, in order; row -1 after the last."""

    @abstractmethod
    def _exact(self, query: Array, rows: Rows, k: int) -> Hits:
        """Return the k best of the given rows."""

    @abstractmethod
    def _rows_for(self, reach: int) -> int:
        """Return how many rows could be compared exactly in the time that a fetch takes."""

    def search(self, queries: Array, ks: Sequence[int], filters: Sequence[RowFilter]) -> list[Hits]:
        """Answer as `ItemIndex.search` says."""
        passing = [row_filter.count(self._num_rows) for row_filter in filters]
        ks = [min(k, count) for k, count in zip(ks, passing, strict=True)]
        hits = [Hits.none()] * len(queries)
        waiting = {i: self._first_reach(ks[i], passing[i], filters[i]) for i in range(len(queries)) if ks[i]}
        while waiting:
            exact = [i for i, reach in waiting.items() if self._is_exact(ks[i], passing[i], reach)]
            for i in exact:
                hits[i] = self._exact(queries[i], filters[i].passing(self._num_rows), ks[i])
                del waiting[i]
            for reach, group in _by_reach(waiting.items()).items():
                scores, rows = self._nearest(queries if len(group) == len(queries) else queries[group], reach)
                for place, i in enumerate(group):
                    best = filters[i].first(rows[place], ks[i])
                    if best is None:
                        waiting[i] = 4 * reach
                        continue
                    hits[i] = Hits(rows[place, best], scores[place, best])
                    del waiting[i]
        return hits

    def _first_reach(self, k: int, passing: int, row_filter: RowFilter) -> int:
        # With a mask half as many again as would hold k passing rows if these were spread evenly. The excluded are
        # mostly a history, which stands among the best. Powers of two, so that queries of a batch are fetched together.
        # Who asks for fewer than the recall was measured with is not to get less of it: the fetch is as deep.
        needed = float(max(k, MEASURED_K))
        if row_filter.mask is not None:
            needed = 1.5 * needed * self._num_rows / passing + 8
        needed += min(len(row_filter.excluded), _LARGEST_REACH // 4)
        return 1 << (ceil(needed) - 1).bit_length()

    def _is_exact(self, k: int, passing: int, reach: int) -> bool:
        return (
            passing <= max(_EXACT_SHARE * self._num_rows, self._rows_for(reach))
            or reach > max(_LARGEST_REACH, 4 * k)
            or reach > self._num_rows
        )


def _by_reach(waiting: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i, reach in waiting:
        groups[reach].append(i)
    return groups


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


_REACH_PER_PROBES = 64
"""Fetched rows for which a search looks into as many cells again. Measured."""
_POINTS_PER_CELL = 64
"""Vectors that the centroids are fitted on, for each."""
_ITERATIONS = 10
"""Of the fit."""
_SEED = 1
_GRAPH = HnswParameters(neighbours=16, ef_construction=64, ef_search=16)
"""Of the centroids. It finds the nearest for 99.6 % of items where there are 12,649, in a fourth of the time that all
take; in the others' place one that is nearly as near."""
_ROWS_AT_ONCE = 65_536


class IvfSearch(ApproximateSearch):
    """Search in a FAISS `IndexIVFFlat`."""

    def __init__(self, index: Any, parameters: IvfParameters) -> None:
        super().__init__(index)
        self._parameters = parameters

    def _probes(self, reach: int) -> int:
        probes = self._parameters.probes * (1 + reach / _REACH_PER_PROBES)
        return min(self._parameters.cells, ceil(probes))

    def _nearest(self, queries: Array, reach: int) -> tuple[Array, Rows]:
        scores, rows = self._index.search(queries, reach, params=_looking_into(self._probes(reach)))
        # FAISS gives the best first, but those of one score in any order.
        tied = (scores[:, 1:] >= scores[:, :-1]).any()
        return in_order(scores, rows) if tied else (scores, rows)

    def _exact(self, query: Array, rows: Rows, k: int) -> Hits:
        passing = np.zeros(self._num_rows, dtype=np.bool_)
        passing[rows] = True
        bits = np.packbits(passing, bitorder="little")
        parameters = faiss.SearchParametersIVF(nprobe=self._parameters.cells, sel=faiss.IDSelectorBitmap(bits))
        scores, found = self._index.search(query[np.newaxis], k, params=parameters)
        return best_hits(found[0], scores[0], k)

    def _rows_for(self, reach: int) -> int:
        return int(self._probes(reach) * self._num_rows / self._parameters.cells)


@lru_cache(maxsize=64)
def _looking_into(cells: int) -> Any:
    return faiss.SearchParametersIVF(nprobe=cells)


def build_ivf(vectors: Array, parameters: IvfParameters) -> Any:
    """Return a FAISS index that holds a copy of `(N, D)`."""
    width = vectors.shape[1]
    centroids = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(centroids, width, parameters.cells, faiss.METRIC_INNER_PRODUCT)
    centroids.this.disown()
    index.own_fields = True
    index.nprobe = parameters.probes
    fit = index.cp
    fit.seed, fit.niter = _SEED, _ITERATIONS
    fit.min_points_per_centroid, fit.max_points_per_centroid = 1, _POINTS_PER_CELL
    index.train(vectors if len(vectors) else np.zeros((parameters.cells, width), dtype=np.float32))
    _add(index, centroids, vectors)
    return index


def _add(index: Any, centroids: Any, vectors: Array) -> None:
    """Put each vector into a cell that a graph over the centroids finds; comparing all would be n to the 1.5."""
    graph = build_hnsw(table_of(centroids), _GRAPH)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE]
        cells = graph.search(part, 1)[1]
        index.add_core(len(part), faiss.swig_ptr(part), None, faiss.swig_ptr(cells))
