"""The base of a catalogue: a fixed table of items, at first the bundle's, and the index that searches it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.index import Hits, ItemIndex, Rows
from llmemb_service.catalogue.snapshot.rows import Mask, Passing
from llmemb_service.storage.changes import Array

TAIL_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Table:
    """The items of rows `0..T`; immutable."""

    ids: Sequence[str]
    rows: Mapping[str, int]
    """Id -> row."""
    attributes_json: Sequence[str]
    vectors: Array
    """Item vectors, `(T, D)`."""
    popularity: NDArray[np.int64]
    """Training interactions, `(T,)`."""
    added: Mask
    """True where the item was added to the bundle or its attributes were replaced, `(T,)`."""

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
        """All rows by descending popularity, then ascending row."""
        return np.argsort(-self.popularity, kind="stable")


def tail_popularity(popularity: NDArray[np.int64]) -> int:
    """Return the maximum number of interactions of a tail item, with the same split as the evaluation.

    Args:
        popularity: of the bundle's items, `(N,)`; items without interactions are neither tail nor head.
    """
    values, items = np.unique(popularity[popularity > 0], return_counts=True)
    if not len(values):
        return 0
    within = values[np.cumsum(items) <= TAIL_SHARE * items.sum()]
    return int(within[-1] if len(within) else values[0])


def categories_of(attributes_json: str, attribute: str | None) -> tuple[str, ...]:
    """Return an item's categories: the distinct values of one of its attributes.

    Args:
        attributes_json: as `llmemb.item.attributes_to_json` wrote it.
        attribute: the bundle's `categories_attribute`; None if it has none.
    """
    if attribute is None:
        return ()
    value: str | list[str] = json.loads(attributes_json).get(attribute, [])
    return (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))


def rows_by_category(attributes_json: Sequence[str], attribute: str | None) -> dict[str, list[int]]:
    """Return the ascending rows of every category in the items' attributes."""
    rows: dict[str, list[int]] = {}
    if attribute is not None:
        for row, text in enumerate(attributes_json):
            for category in categories_of(text, attribute):
                rows.setdefault(category, []).append(row)
    return rows


class SegmentIndex(Protocol):
    """An immutable index over the first rows of a snapshot."""

    def __len__(self) -> int:
        """Return the number of rows, S."""
        ...

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """Return the best rows that pass, for each query `(B, D)`; equal scores by ascending row."""
        ...

    def extended(self, vectors: Array) -> "SegmentIndex":
        """Return an index that also has the next n rows `(n, D)`; this one does not change."""
        ...

    def rebuilt(self, vectors: Array) -> "SegmentIndex":
        """Return an index of the same kind over only these rows `(n, D)`."""
        ...


class FaissSegment:
    """A FAISS index in this process: the bundle's, or one derived from it."""

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
