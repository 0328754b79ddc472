"""The base of a catalogue: items in fixed rows, those of the bundle at first, and what searches them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.index import Hits, ItemIndex, Rows
from service.catalogue.snapshot.rows import Mask, Passing
from service.storage.changes import Array

TAIL_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Table:
    """Items in rows `0..T`, never changed."""

    ids: Sequence[str]
    rows: Mapping[str, int]
    """Id -> row."""
    attributes_json: Sequence[str]
    vectors: Array
    """Item vectors, `(T, D)`."""
    popularity: NDArray[np.int64]
    """Training interactions, `(T,)`."""
    added: Mask
    """Where an item was added to the bundle or took other attributes, `(T,)`."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Table":
        """Return the bundle's own items."""
        items = bundle.items
        return cls(
            ids=items.ids,
            rows=items.rows,
            attributes_json=items.attributes_json,
            vectors=bundle.item_vectors,
            popularity=items.popularity,
            added=np.zeros(len(items.ids), dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def by_popularity(self) -> Rows:
        """All rows, the most popular first, those of equal popularity ascending."""
        return np.argsort(-self.popularity, kind="stable")


def tail_popularity(popularity: NDArray[np.int64]) -> int:
    """Return the greatest number of interactions of a tail item, as the evaluation divides the items.

    Args:
        popularity: of the bundle's items, `(N,)`; those without interactions are neither tail nor head.
    """
    values, items = np.unique(popularity[popularity > 0], return_counts=True)
    if not len(values):
        return 0
    within = values[np.cumsum(items) <= TAIL_SHARE * items.sum()]
    return int(within[-1] if len(within) else values[0])


def categories_of(attributes_json: str, attribute: str | None) -> tuple[str, ...]:
    """Return the categories that an item has by its attributes: the values of one of them, each once.

    Args:
        attributes_json: as `llmemb.item.attributes_to_json` wrote it.
        attribute: the bundle's `categories_attribute`; None where it has none.
    """
    if attribute is None:
        return ()
    value: str | list[str] = json.loads(attributes_json).get(attribute, [])
    return (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))


def rows_by_category(attributes_json: Sequence[str], attribute: str | None) -> dict[str, list[int]]:
    """Return the rows, ascending, of every category that items have by their attributes."""
    rows: dict[str, list[int]] = {}
    if attribute is not None:
        for row, text in enumerate(attributes_json):
            for category in categories_of(text, attribute):
                rows.setdefault(category, []).append(row)
    return rows


class SegmentIndex(Protocol):
    """An immutable index over the first rows of a snapshot."""

    def __len__(self) -> int:
        """How many rows, S."""
        ...

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """Return the best rows that pass, for each query `(B, D)`; equal scores in the order of their rows."""
        ...

    def extended(self, vectors: Array) -> "SegmentIndex":
        """Return an index with the next n rows `(n, D)` too; this one stays as it is."""
        ...

    def rebuilt(self, vectors: Array) -> "SegmentIndex":
        """Return an index of the same kind over these rows `(n, D)` alone."""
        ...


class FaissSegment:
    """The index of the bundle, or one made from it, in this process."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """See `SegmentIndex`."""
        return self._index.search(queries, ks, [each.row_filter(len(self._index)) for each in passing])

    def extended(self, vectors: Array) -> "FaissSegment":
        """See `SegmentIndex`."""
        return FaissSegment(self._index.with_vectors(vectors))

    def rebuilt(self, vectors: Array) -> "FaissSegment":
        """See `SegmentIndex`."""
        return FaissSegment(ItemIndex.build(vectors, self._index.spec))
