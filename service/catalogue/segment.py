"""What searches the base: FAISS in this process, or anything else that keeps the protocol.

`B` queries, `S` rows of the segment: the first S of the snapshot. `D` width of item vectors.
"""

from collections.abc import Sequence
from typing import Protocol

from llmemb.index import Hits, ItemIndex
from service.catalogue.changes import Array
from service.catalogue.filters import Passing


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
