"""HNSW and IVF: an index that looks at some rows, and still answers with the k best that pass a filter.

A filter must cost no recall, whatever its relation to the query, so none is pushed into FAISS: a graph that is walked
past rows that do not pass ends far from those that do. Instead the best of all rows are fetched, as many as the share
of passing rows asks for; if k of them pass, these are the k best that pass. If not, more are fetched, and in the end
the passing rows are compared exactly, which is also done at once where they are few.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from llmemb.index.hits import Array, Hits, Rows
from llmemb.index.row_filter import RowFilter
from llmemb.index.spec import MEASURED_K

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
