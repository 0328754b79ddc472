"""An immutable state of the catalogue: the base, the items added since, and which rows are visible."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import immutables
import numpy as np

from llmemb.api.recommend import Filters
from llmemb.bundle import Bundle
from llmemb.index import NO_ROWS, Hits, Rows, merge_hits
from llmemb.index.hits import best_hits, rough_products, score_rows
from llmemb.item import Attributes, attributes_from_json
from llmemb_service.catalogue.snapshot.base import (
    FaissSegment,
    SegmentIndex,
    Table,
    categories_of,
    rows_by_category,
    tail_popularity,
)
from llmemb_service.catalogue.snapshot.rows import CategoryRows, Column, Passing, Visibility, as_rows
from llmemb_service.storage.changes import Array

ROUNDING = 1e-5
"""Maximum error of an entry of a matrix product against the exact score, divided by the product of the two norms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """The columns of the added and replaced items."""

    ids: Column[np.object_]
    attributes_json: Column[np.object_]
    vectors: Column[np.float32]
    """Item vectors, `(M, D)`."""
    popularity: Column[np.int64]
    """Training interactions if the id is in the bundle, else 0."""

    @classmethod
    def empty(cls, width: int) -> "Delta":
        """Return a delta without items, for vectors of width D."""
        return cls(
            ids=Column.of(np.empty(0, dtype=np.object_)),
            attributes_json=Column.of(np.empty(0, dtype=np.object_)),
            vectors=Column.of(np.empty((0, width), dtype=np.float32)),
            popularity=Column.of(np.empty(0, dtype=np.int64)),
        )

    def __len__(self) -> int:
        return self.ids.length

    def with_items(
        self, ids: Sequence[str], attributes_json: Sequence[str], vectors: Array, popularity: Sequence[int]
    ) -> "Delta":
        """Return a delta with n more items; `vectors` is `(n, D)`, and each other argument has n entries."""
        return Delta(
            ids=self.ids.with_rows(np.array(ids, dtype=np.object_)),
            attributes_json=self.attributes_json.with_rows(np.array(attributes_json, dtype=np.object_)),
            vectors=self.vectors.with_rows(vectors),
            popularity=self.popularity.with_rows(np.array(popularity, dtype=np.int64)),
        )


def search_exactly(
    queries: Array, ks: Sequence[int], passing: Sequence[Passing], vectors: Array, start: int
) -> list[Hits]:
    """Return the best of a few rows for each query, with the same scores as an index.

    Args:
        queries: `(B, D)`.
        ks: number of rows for each query.
        passing: which rows pass, for each query.
        vectors: of the rows `start..start + n`, `(n, D)`.
        start: the first of these rows.
    """
    products = rough_products(queries, vectors)
    # The rounding of a matrix product depends on a row's position. So it only selects the rows near the best, which are
    # then scored exactly.
    slack = ROUNDING * np.sqrt(np.einsum("bd,bd->b", queries, queries) * np.einsum("nd,nd->n", vectors, vectors).max())
    hits = []
    for query, scores, k, each, margin in zip(queries, products, ks, passing, slack, strict=True):
        places = np.flatnonzero(each.mask(start, start + len(vectors)))
        if len(places) > k:
            scores = scores[places]
            places = places[scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - margin]
        hits.append(best_hits(start + places, score_rows(vectors, query, places), k))
    return hits


Source = Literal["bundle", "added"]
MIN_CANDIDATES = 1000
MAX_CANDIDATES = 50_000
"""Up to this many rows are scored one by one: faster than an index search with a mask, and with full recall."""
POPULAR_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Snapshot:
    """An immutable catalogue. `Snapshot.of` makes the first one, `edition.py` the next."""

    bundle: Bundle
    table: Table
    delta: Delta
    delta_rows: "immutables.Map[str, int]"
    """Id -> row, for items whose row is in the delta."""
    visibility: Visibility
    category_rows: CategoryRows
    given_categories: "immutables.Map[str, tuple[str, ...]]"
    """Id -> categories that a request set; the other items have the categories of their attributes."""
    segment: SegmentIndex
    num_added: int
    """Items that were added to the bundle or whose attributes were replaced."""
    tail_popularity: int

    @classmethod
    def of(cls, bundle: Bundle, segment: SegmentIndex | None = None) -> "Snapshot":
        """Return the bundle's own catalogue.

        Args:
            bundle: has the items.
            segment: an index over them; None uses the bundle's own.
        """
        by_category = rows_by_category(bundle.items.attributes_json, bundle.manifest.categories_attribute)
        return cls(
            bundle=bundle,
            table=Table.of(bundle),
            delta=Delta.empty(bundle.space.width),
            delta_rows=immutables.Map(),
            visibility=Visibility(),
            category_rows=CategoryRows.of(by_category),
            given_categories=immutables.Map(),
            segment=FaissSegment(bundle.index) if segment is None else segment,
            num_added=0,
            tail_popularity=tail_popularity(bundle.items.popularity),
        )

    def with_segment(self, segment: SegmentIndex) -> "Snapshot":
        """Return the same catalogue with another index, over its first rows and at least the base."""
        return replace(self, segment=segment)

    def __len__(self) -> int:
        return self.num_rows - len(self.visibility.hidden)

    @property
    def num_rows(self) -> int:
        """The number of rows, hidden ones included."""
        return len(self.table) + len(self.delta)

    def row(self, item_id: str) -> int | None:
        """Return an item's row, or None if it is not in the catalogue."""
        row = self.delta_rows.get(item_id)
        if row is None:
            row = self.table.rows.get(item_id)
        return None if row is None or row in self.visibility.hidden else row

    def rows(self, item_ids: Sequence[str]) -> list[int | None]:
        """Return the row of each item, or None if it is not in the catalogue."""
        if self.delta_rows or self.visibility.hidden:
            return list(map(self.row, item_ids))
        return list(map(self.table.rows.get, item_ids))

    def texts(self, rows: Sequence[int]) -> list[tuple[str, str]]:
        """Return the id and the attributes of each row, see `item_id` and `attributes_json`."""
        if self.delta:
            return [(self.item_id(row), self.attributes_json(row)) for row in rows]
        ids, attributes_json = self.table.ids, self.table.attributes_json
        return [(ids[row], attributes_json[row]) for row in rows]

    def item_id(self, row: int) -> str:
        """Return an item's id."""
        place = row - len(self.table)
        item_id: str = self.table.ids[row] if place < 0 else self.delta.ids.rows[place]
        return item_id

    def attributes_json(self, row: int) -> str:
        """Return an item's attributes, as `llmemb.item.attributes_to_json` writes them."""
        place = row - len(self.table)
        text: str = self.table.attributes_json[row] if place < 0 else self.delta.attributes_json.rows[place]
        return text

    def attributes(self, row: int) -> Attributes:
        """Return an item's attributes."""
        return attributes_from_json(self.attributes_json(row))

    def categories(self, row: int) -> tuple[str, ...]:
        """Return an item's categories."""
        given = self.given_categories.get(self.item_id(row))
        return self.own_categories(self.attributes_json(row)) if given is None else given

    def own_categories(self, attributes_json: str) -> tuple[str, ...]:
        """Return the categories in these attributes."""
        return categories_of(attributes_json, self.bundle.manifest.categories_attribute)

    def available(self, row: int) -> bool:
        """Return whether the default filter lets an item through."""
        return row not in self.visibility.unavailable

    def source(self, row: int) -> Source:
        """Return whether an item is the bundle's own or was added or replaced."""
        return "added" if row >= len(self.table) or self.table.added[row] else "bundle"

    def popularity(self, row: int) -> int:
        """Return an item's training interactions; 0 if its id is not in the bundle."""
        place = row - len(self.table)
        return int(self.table.popularity[row] if place < 0 else self.delta.popularity.rows[place])

    def is_tail(self, row: int) -> bool:
        """Return whether an item has training interactions and is among the 80 % of items with the fewest."""
        return 0 < self.popularity(row) <= self.tail_popularity

    def is_cold(self, row: int) -> bool:
        """Return whether an item has no training interactions."""
        return self.popularity(row) == 0

    def vector(self, row: int) -> Array:
        """Return an item's vector, `(D,)`."""
        place = row - len(self.table)
        vector: Array = self.table.vectors[row] if place < 0 else self.delta.vectors.rows[place]
        return vector

    def vectors(self, rows: Rows) -> Array:
        """Return the vectors `(n, D)` of rows, in the given order."""
        in_table = rows < len(self.table)
        if in_table.all():
            return self.table.vectors[rows]
        vectors = np.empty((len(rows), self.bundle.space.width), dtype=np.float32)
        vectors[in_table] = self.table.vectors[rows[in_table]]
        vectors[~in_table] = self.delta.vectors.rows[rows[~in_table] - len(self.table)]
        return vectors

    def history_vectors(self, rows: Rows) -> Array:
        """Return the vectors that represent the items in a history, see `Bundle.history_vectors`.

        A successor vector belongs to the id, like a residual: an item of the bundle keeps it when its text changes.
        """
        vectors = self.vectors(rows)
        if self.bundle.successors is None:
            return vectors
        if self.table.ids is not self.bundle.items.ids or (rows >= len(self.table)).any():
            known = self.bundle.items.rows
            rows = np.array([known.get(self.item_id(row), -1) for row in rows.tolist()], dtype=np.int64)
        return self.bundle.history_vectors(vectors, rows)

    def selection(self, filters: Filters, excluded_rows: Collection[int]) -> Passing:
        """Return which rows pass `filters` and are not excluded; unknown ids are ignored."""
        allowed = None if filters.allow is None else as_rows(self._known_rows(filters.allow))
        excluded = {*excluded_rows, *self._known_rows(filters.deny)}
        any_of = [rows for name in filters.categories_any if len(rows := self.category_rows.rows(name))]
        return Passing(
            filters=filters,
            visibility=self.visibility,
            any_of=tuple(any_of) or (NO_ROWS,),
            all_of=tuple(self.category_rows.rows(name) for name in filters.categories_all),
            allowed=allowed,
            excluded=as_rows(excluded),
        )

    def _known_rows(self, item_ids: Iterable[str]) -> list[int]:
        return [row for item_id in item_ids if (row := self.row(item_id)) is not None]

    def _candidates(self, passing: Passing) -> Rows | None:
        return passing.candidates(min(max(MIN_CANDIDATES, self.num_rows // 16), MAX_CANDIDATES))

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """Return the rows with the highest inner products for each query; equal scores by ascending row.

        Returns fewer than k rows where fewer pass.

        Args:
            queries: `(B, D)`.
            ks: number of rows for each query.
            passing: a result of this snapshot's `selection` for each query.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        hits = [Hits.none()] * len(ks)
        rest = []
        for place, each in enumerate(passing):
            rows = self._candidates(each)
            if rows is None:
                rest.append(place)
            else:
                hits[place] = best_hits(rows, self._scores(queries[place], rows), ks[place])
        if rest:
            found = self._search_all(queries[rest], [ks[place] for place in rest], [passing[place] for place in rest])
            for place, each_hits in zip(rest, found, strict=True):
                hits[place] = each_hits
        return hits

    def _scores(self, query: Array, rows: Rows) -> Array:
        """Return the scores `(n,)` of ascending rows for a query `(D,)`."""
        first = int(np.searchsorted(rows, len(self.table)))
        scores = score_rows(self.table.vectors, query, rows[:first])
        if first == len(rows):
            return scores
        fresh = score_rows(self.delta.vectors.rows, query, rows[first:] - len(self.table))
        return np.concatenate([scores, fresh])

    def _search_all(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        hits = self.segment.search(queries, ks, passing)
        start = len(self.segment)
        if start == self.num_rows:
            return hits
        fresh = search_exactly(queries, ks, passing, self.delta.vectors.rows[start - len(self.table) :], start)
        return [merge_hits([old, new], k) for old, new, k in zip(hits, fresh, ks, strict=True)]

    def popular(self, k: int, passing: Passing) -> Hits:
        """Return the k rows with the most training interactions, which are their scores; ties by ascending row."""
        rows = self._candidates(passing)
        if rows is None:
            start = len(self.table)
            fresh = start + np.flatnonzero(passing.mask(start, self.num_rows))
            rows = np.concatenate([self._popular_of_table(k, passing), fresh])
        return best_hits(rows, self._popularities(rows), k)

    def _popularities(self, rows: Rows) -> Array:
        popularity = np.empty(len(rows), dtype=np.float32)
        in_table = rows < len(self.table)
        popularity[in_table] = self.table.popularity[rows[in_table]]
        popularity[~in_table] = self.delta.popularity.rows[rows[~in_table] - len(self.table)]
        return popularity

    def _popular_of_table(self, k: int, passing: Passing) -> Rows:
        """Return the k most popular rows of the base that pass; stops as soon as it has them."""
        order, mask, found = self.table.by_popularity, passing.mask(0, len(self.table)), NO_ROWS
        start, size = 0, max(POPULAR_CHUNK, 2 * k)
        while len(found) < k and start < len(order):
            chunk = order[start : start + size]
            found = np.concatenate([found, chunk[mask[chunk]]])
            start, size = start + size, 4 * size
        return found[:k]

    def similar(self, row: int, k: int, passing: Passing) -> Hits:
        """Return the k rows whose item embeddings have the highest cosine with that of `row`, without `row` itself.

        The search is exact and reads the vectors of all rows that pass.
        """
        dim = self.bundle.space.dim
        query = _unit(self.vector(row)[None, :dim])[0]
        rows = self._candidates(passing)
        if rows is None:
            parts = (self.table.vectors, self.delta.vectors.rows)
            cosines = np.concatenate([self._cosines(part[:, :dim], query) for part in parts])
            rows = np.flatnonzero(passing.mask(0, self.num_rows))
            scores = cosines[rows]
        else:
            scores = self._cosines(self.vectors(rows)[:, :dim], query)
        others = rows != row
        return best_hits(rows[others], scores[others], k)

    def _cosines(self, embeddings: Array, query: Array) -> Array:
        """Return the cosines `(n,)` of embeddings `(n, d)` with a query `(d,)` of unit length; 0 for zero vectors."""
        products: Array = embeddings @ query
        if self.bundle.manifest.scoring == "cosine":
            return products  # embeddings have unit length
        length = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
        cosines: Array = np.divide(products, length, out=np.zeros_like(length), where=length > 0)
        return cosines


def _unit(vectors: Array) -> Array:
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: Array = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit
