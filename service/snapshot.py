"""The catalogue at one moment, never changed: the bundle's items, and beside them those added or replaced since.

An item's row is its row in the bundle, or N plus its place among the M added ones. `D` the width of item
vectors, see `llmemb/item_space.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.index import Hits, ItemIndex, merge_hits
from llmemb.item import Attributes, attributes_from_json
from service.item_store import StoredItem

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item of an answer."""

    id: str
    score: float
    attributes: Attributes


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An immutable catalogue; `Snapshot.of` makes the first, `with_items` the next."""

    bundle: Bundle
    added: tuple[StoredItem, ...]
    """Added and replaced items, in the order of their first addition."""
    places: Mapping[str, int]
    """Id -> place among the added items."""
    vectors: Array
    """Of the added items, `(M, D)`."""
    delta: ItemIndex
    """Index over `vectors`."""
    hidden: frozenset[int]
    """Rows of the bundle whose items were replaced."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Snapshot":
        """Return the bundle's own catalogue."""
        none = np.empty((0, bundle.space.width), dtype=np.float32)
        return cls(bundle=bundle, added=(), places={}, vectors=none, delta=ItemIndex.build(none), hidden=frozenset())

    def with_items(self, items: Sequence[StoredItem]) -> "Snapshot":
        """Return the catalogue with items of distinct ids added, or put in place of those it holds."""
        added, places = list(self.added), dict(self.places)
        for item in items:
            place = places.setdefault(item.id, len(added))
            added[place : place + 1] = [item]  # replaces that place, or appends
        vectors = np.empty((len(added), self.bundle.space.width), dtype=np.float32)
        vectors[: len(self.added)] = self.vectors
        for item in items:
            vectors[places[item.id]] = item_vector(self.bundle, item.id, item.semantic)
        rows = self.bundle.items.rows
        return Snapshot(
            bundle=self.bundle,
            added=tuple(added),
            places=places,
            vectors=vectors,
            delta=ItemIndex.build(vectors),
            hidden=self.hidden | {rows[item.id] for item in items if item.id in rows},
        )

    def __len__(self) -> int:
        return self._base - len(self.hidden) + len(self.added)

    @property
    def _base(self) -> int:
        """Rows of the bundle, N; the added items' rows start here."""
        return len(self.bundle.items.ids)

    def row(self, item_id: str) -> int | None:
        """Return an item's row, None where the catalogue does not hold it."""
        place = self.places.get(item_id)
        return self.bundle.items.rows.get(item_id) if place is None else self._base + place

    def vector(self, row: int) -> Array:
        """Return an item's vector, `(D,)`."""
        table, place = (self.bundle.item_vectors, row) if row < self._base else (self.vectors, row - self._base)
        vector: Array = table[place]
        return vector

    def item(self, row: int, score: float) -> ScoredItem:
        """Return an item with a score."""
        if row < self._base:
            return ScoredItem(self.bundle.items.ids[row], score, self.bundle.items.attributes(row))
        added = self.added[row - self._base]
        return ScoredItem(added.id, score, attributes_from_json(added.attributes_json))

    def search(self, query: Array, k: int, excluded: Collection[int]) -> list[ScoredItem]:
        """Return the k items of the greatest inner product with `query` `(D,)`, none of the excluded rows.

        Equal scores come in the order of their rows; where fewer items are left, all of them come.
        """
        hits = self.bundle.index.search(query[None], k, [self.hidden.union(excluded)])[0]
        if self.added:
            # Rows of the other index are no harm among the excluded, but each makes the search reach further.
            places = {row - self._base for row in excluded if row >= self._base}
            delta = self.delta.search(query[None], k, [places])[0]
            hits = merge_hits([hits, Hits(delta.rows + self._base, delta.scores)], k)
        return [self.item(int(row), float(score)) for row, score in zip(hits.rows, hits.scores, strict=True)]


def item_vector(bundle: Bundle, item_id: str, semantic: Array) -> Array:
    """Return the vector `(D,)` of an item with the semantic vector `(D,)`.

    An id that the bundle knows keeps its residual, whatever its text.
    """
    row = bundle.items.rows.get(item_id)
    return bundle.space.item_vectors(semantic, None if row is None or bundle.residual is None else bundle.residual[row])
