"""Search in consecutive rows that one collection of Milvus holds: the k best that pass, by exact scores.

Milvus is asked for the best rows of an expression that lets every passing row through, as many as the share of those
that pass asks for. What does not pass is sifted out here, and what is left scored by the same arithmetic as FAISS's
answers, so that equal vectors tie. If k rows are not sure after that, more are fetched; in the end the passing rows are
compared in this process.

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
from service.catalogue.milvus.collection import MOST_FETCHED, MilvusCollection
from service.catalogue.milvus.connection import FILLING_SECONDS, CollectionGoneError
from service.catalogue.milvus.filters import Expression, StoredCategories
from service.catalogue.snapshot.rows import Mask, Passing

NARROW_SHARE = 0.25
"""Below this share of passing rows Milvus filters by category; above, what is fetched is sifted, which costs less."""
SCORED_TOGETHER = 2**16
ROUNDING = 1e-5
"""A bound on how far Milvus's score is from the exact one, over the product of the two lengths."""


@dataclass(frozen=True, slots=True)
class StackedVectors:
    """Item vectors of all rows, in the arrays that hold them anyway."""

    parts: tuple[Array, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def with_part(self, vectors: Array) -> "StackedVectors":
        """Return them with those of the next rows, `(n, D)`."""
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
        for first in range(0, len(rows), SCORED_TOGETHER):
            some = rows[first : first + SCORED_TOGETHER]
            scores = score_rows(self.take(some), query, np.arange(len(some)))
            hits = merge_hits([hits, best_hits(some, scores, k)], k)
        return hits


@dataclass(frozen=True)
class Window:
    """The rows `start..stop`, those of them that a filter of the segment lets through."""

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
        """How many pass."""
        return int(np.count_nonzero(self._mask))

    @property
    def rows(self) -> Rows:
        """Those that pass, ascending."""
        return self.start + np.flatnonzero(self._mask)

    def sift(self, rows: Rows) -> Rows:
        """Return those of some rows that lie in the window and pass."""
        rows = rows[(rows >= self.start) & (rows < self.stop)]
        return rows[self._mask[rows - self.start]]


@dataclass(frozen=True, slots=True)
class _Fetch:
    """What Milvus is asked for."""

    expression: str
    limit: int
    reach: int
    """So many of all rows hold about as many that the expression lets through: how far an approximate index looks."""

    def wider(self) -> "_Fetch":
        return replace(self, limit=4 * self.limit, reach=4 * self.reach)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Consecutive rows of a segment, and the collection that has them; it may have later rows too."""

    collection: MilvusCollection
    start: int
    stop: int
    longest: float
    """Length of the longest vector."""
    stored: StoredCategories | None
    """The categories in the collection; None where it has none."""

    def search(
        self,
        queries: Array,
        ks: Sequence[int],
        passing: Sequence[Passing],
        filters: Sequence[RowFilter],
        vectors: StackedVectors,
    ) -> list[Hits]:
        """Return the best rows that pass, for each query `(B, D)`; equal scores in the order of their rows.

        Raises:
            CollectionGoneError: Milvus does not have the collection, or not all of these rows.
            StorageError: Milvus is away.
        """
        if self.collection.filled < self.stop:
            raise CollectionGoneError("the collection is being filled again", FILLING_SECONDS)
        windows = [Window(each, self.start, self.stop) for each in filters]
        ks = [min(k, window.count) for k, window in zip(ks, windows, strict=True)]
        hits = [Hits.none()] * len(ks)
        waiting = {i: self._first_fetch(k, passing[i], windows[i]) for i, k in enumerate(ks) if k}
        while waiting:
            for fetch, group in _together(waiting).items():
                found = self._fetch(queries, fetch, group)
                for i, each in found.items():
                    best = self._sure(queries[i], ks[i], windows[i], vectors, fetch, each)
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
        # Half as many again as hold k passing rows if these are spread evenly; the excluded are mostly a history, which
        # stands among the best.
        rows = max(expression.rows, window.count)
        limit = 1.5 * k * rows / window.count + 8 + len(window.row_filter.excluded)
        return _Fetch(expression.text, _power_of_two(limit), _power_of_two(limit * num_rows / rows))

    def _fetch(self, queries: Array, fetch: _Fetch, group: list[int]) -> dict[int, Hits | None]:
        if fetch.limit > MOST_FETCHED:
            return dict.fromkeys(group)
        found = self.collection.search(queries[group], fetch.limit, fetch.reach, fetch.expression)
        return dict(zip(group, found, strict=True))

    def _sure(
        self, query: Array, k: int, window: Window, vectors: StackedVectors, fetch: _Fetch, found: Hits | None
    ) -> Hits | None:
        """Return the k best, None where rows that were not fetched may be among them."""
        if found is None:
            return vectors.best(query, window.rows, k)
        hits = vectors.best(query, window.sift(found.rows), k)
        if len(hits.rows) < k:
            return None
        if not self.collection.is_exact or len(found.rows) < fetch.limit:
            return hits
        slack = ROUNDING * float(np.linalg.norm(query)) * self.longest
        return hits if hits.scores[-1] > found.scores.min() + slack else None


def _power_of_two(least: float) -> int:
    """Return the next one, so that queries of a batch are fetched together."""
    return 1 << (math.ceil(least) - 1).bit_length()


def _together(waiting: dict[int, _Fetch]) -> dict[_Fetch, list[int]]:
    groups: defaultdict[_Fetch, list[int]] = defaultdict(list)
    for i, fetch in waiting.items():
        groups[fetch].append(i)
    return dict(groups)
