"""Search consecutive rows that are in one Milvus collection: the k best that pass, with exact scores.

Milvus returns the best rows that match an expression, which every passing row does; their number depends on the share
of passing rows. This process drops the rows that do not pass and scores the others with the same arithmetic as FAISS,
so that equal vectors tie. If the k best are not certain then, more rows are fetched; as the last resort, all passing
rows are scored in this process.

`B` queries, `D` width, `S` rows of the segment.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmemb.index import Array, Hits, RowFilter, Rows
from llmemb.index.hits import best_hits, merge_hits, score_rows
from llmemb_service.catalogue.milvus.collection import MAX_FETCHED, MilvusCollection
from llmemb_service.catalogue.milvus.connection import REFILL_RETRY_SECONDS, CollectionGoneError
from llmemb_service.catalogue.milvus.filters import Expression, StoredCategories
from llmemb_service.catalogue.snapshot.rows import Mask, Passing

NARROW_SHARE = 0.25
"""Below this share of passing rows Milvus filters by category; above, it is cheaper to filter the fetched rows here."""
SCORE_CHUNK_ROWS = 2**16
ROUNDING = 1e-5
"""Maximum error of a Milvus score against the exact one, divided by the product of the two norms."""


@dataclass(frozen=True, slots=True)
class StackedVectors:
    """Item vectors of all rows, in several arrays that are not copied."""

    parts: tuple[Array, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def with_part(self, vectors: Array) -> "StackedVectors":
        """Return a copy with the vectors of the next rows, `(n, D)`."""
        return StackedVectors((*self.parts, vectors))

    def take(self, rows: Rows) -> Array:
        """Return the vectors of some rows, `(n, D)`, contiguous."""
        taken = np.empty((len(rows), self.parts[0].shape[1]), dtype=np.float32)
        start = 0
        for part in self.parts:
            inside = (rows >= start) & (rows < start + len(part))
            taken[inside] = part[rows[inside] - start]
            start += len(part)
        return taken

    def best(self, query: Array, rows: Rows, k: int) -> Hits:
        """Return the k best of some rows for a query `(D,)`."""
        hits = Hits.none()
        for first in range(0, len(rows), SCORE_CHUNK_ROWS):
            some = rows[first : first + SCORE_CHUNK_ROWS]
            scores = score_rows(self.take(some), query, np.arange(len(some)))
            hits = merge_hits([hits, best_hits(some, scores, k)], k)
        return hits


@dataclass(frozen=True)
class Window:
    """The rows of `start..stop` that pass a filter of the segment."""

    row_filter: RowFilter
    start: int
    stop: int

    @cached_property
    def _mask(self) -> Mask:
        given = self.row_filter.mask
        mask = np.ones(self.stop - self.start, dtype=np.bool_) if given is None else given[self.start : self.stop]
        excluded = self.row_filter.excluded - self.start
        excluded = excluded[(excluded >= 0) & (excluded < len(mask))]
        if len(excluded):
            mask = mask if given is None else mask.copy()
            mask[excluded] = False
        return mask

    @cached_property
    def count(self) -> int:
        """The number of rows that pass."""
        return int(np.count_nonzero(self._mask))

    @property
    def rows(self) -> Rows:
        """The rows that pass, ascending."""
        return self.start + np.flatnonzero(self._mask)

    def filter_rows(self, rows: Rows) -> Rows:
        """Return the given rows that are in the window and pass."""
        rows = rows[(rows >= self.start) & (rows < self.stop)]
        return rows[self._mask[rows - self.start]]


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One request to Milvus."""

    expression: str
    limit: int
    num_candidates: int
    """How many of the best rows contain about `limit` that match the expression; bounds an approximate search."""

    def wider(self) -> "_Fetch":
        return replace(self, limit=4 * self.limit, num_candidates=4 * self.num_candidates)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowRange:
    """Consecutive rows of a segment, and the collection that has them; the collection may have later rows too."""

    collection: MilvusCollection
    start: int
    stop: int
    max_norm: float
    """Norm of the longest vector."""
    stored: StoredCategories | None
    """The categories in the collection; None if it has none."""

    def search(
        self,
        queries: Array,
        ks: Sequence[int],
        passing: Sequence[Passing],
        filters: Sequence[RowFilter],
        vectors: StackedVectors,
    ) -> list[Hits]:
        """Return the best rows that pass, for each query `(B, D)`; equal scores by ascending row.

        Raises:
            CollectionGoneError: Milvus does not have the collection, or not all of these rows.
            StorageError: Milvus is unavailable.
        """
        if self.collection.filled < self.stop:
            raise CollectionGoneError("the collection is being filled again", REFILL_RETRY_SECONDS)
        windows = [Window(each, self.start, self.stop) for each in filters]
        ks = [min(k, window.count) for k, window in zip(ks, windows, strict=True)]
        hits = [Hits.none()] * len(ks)
        waiting = {i: self._first_fetch(k, passing[i], windows[i]) for i, k in enumerate(ks) if k}
        while waiting:
            for fetch, group in _grouped(waiting).items():
                found = self._fetch(queries, fetch, group)
                for i, each in found.items():
                    best = self._best_if_certain(queries[i], ks[i], windows[i], vectors, fetch, each)
                    if best is None:
                        waiting[i] = fetch.wider()
                    else:
                        hits[i] = best
                        del waiting[i]
        return hits

    def _first_fetch(self, k: int, passing: Passing, window: Window) -> _Fetch:
        num_rows = self.stop - self.start
        expression = Expression("", num_rows)
        if self.stored is not None and window.count < NARROW_SHARE * num_rows:
            expression = self.stored.expression(passing)
        # 1.5 times the rows that contain k passing ones if these are spread evenly. The excluded rows are mostly the
        # history, whose items are usually among the best.
        rows = max(expression.rows, window.count)
        limit = 1.5 * k * rows / window.count + 8 + len(window.row_filter.excluded)
        return _Fetch(expression.text, _power_of_two(limit), _power_of_two(limit * num_rows / rows))

    def _fetch(self, queries: Array, fetch: _Fetch, group: list[int]) -> dict[int, Hits | None]:
        if fetch.limit > MAX_FETCHED:
            return dict.fromkeys(group)
        found = self.collection.search(queries[group], fetch.limit, fetch.num_candidates, fetch.expression)
        return dict(zip(group, found, strict=True))

    def _best_if_certain(
        self, query: Array, k: int, window: Window, vectors: StackedVectors, fetch: _Fetch, found: Hits | None
    ) -> Hits | None:
        """Return the k best, or None if rows that were not fetched may be among them."""
        if found is None:
            return vectors.best(query, window.rows, k)
        hits = vectors.best(query, window.filter_rows(found.rows), k)
        if len(hits.rows) < k:
            return None
        if not self.collection.is_exact or len(found.rows) < fetch.limit:
            return hits
        slack = ROUNDING * float(np.linalg.norm(query)) * self.max_norm
        return hits if hits.scores[-1] > found.scores.min() + slack else None


def _power_of_two(least: float) -> int:
    """Round up to a power of two, so that many queries of a batch can share one request."""
    return 1 << (math.ceil(least) - 1).bit_length()


def _grouped(waiting: dict[int, _Fetch]) -> dict[_Fetch, list[int]]:
    groups: defaultdict[_Fetch, list[int]] = defaultdict(list)
    for i, fetch in waiting.items():
        groups[fetch].append(i)
    return dict(groups)
