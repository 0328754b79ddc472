"""The rows of a catalogue in Milvus. A decision record in `docs/decisions` says what stays in this process.

A bundle's items are in one collection, which all replicas share and later processes reuse. Folded items are in a
growing collection that only this process uses; an older snapshot ignores its later rows. Both are dropped when they are
not used any more.

`n` rows, `D` width, `B` queries.
"""

import logging
import secrets
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from llmemb.bundle import Bundle
from llmemb.index import Array, Hits, IndexSpec, merge_hits
from llmemb_service.catalogue.milvus.collection import PREFIX, Extent, MilvusCollection, drop, drop_unused
from llmemb_service.catalogue.milvus.connection import CollectionGoneError, MilvusConnection
from llmemb_service.catalogue.milvus.filters import StoredCategories
from llmemb_service.catalogue.milvus.search import RowRange, StackedVectors
from llmemb_service.catalogue.snapshot.rows import Passing
from llmemb_service.errors import StorageError

FILL_CHUNK_ROWS = 2**16

logger = logging.getLogger(__name__)


class MilvusStore:
    """The collections of one bundle that this process uses. Every method blocks: never call it on the event loop.

    Args:
        bundle: has the items of the base.
        uri: of a server, or the path of a Milvus Lite file, which must end with `.db`.
        token: the server's credentials; empty if it needs none.

    Raises:
        StorageError: Milvus is unavailable.
    """

    def __init__(self, bundle: Bundle, uri: str, token: str) -> None:
        self.connection = MilvusConnection(uri, token)
        self._name = f"{PREFIX}{bundle.manifest.id}"
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="milvus")
        self._own: set[str] = set()
        self._refilling: set[str] = set()
        drop_unused(self.connection)
        self.base = self._open(bundle)

    def _open(self, bundle: Bundle) -> "MilvusSegment":
        spec = bundle.index.spec
        stored = StoredCategories.of(bundle.items.attributes_json, bundle.manifest.categories_attribute)
        collection = MilvusCollection(self.connection, f"{self._name}_{spec.kind}", spec)
        vectors = StackedVectors((bundle.item_vectors,))
        row_range = RowRange(collection=collection, start=0, stop=len(vectors), max_norm=0.0, stored=stored)
        extent = collection.extent()
        if extent is None or extent.rows != len(vectors):
            logger.info("filling Milvus with the %d items of bundle %s", len(vectors), bundle.manifest.id)
            extent = fill(row_range, vectors)
        collection.filled = extent.rows
        return MilvusSegment(self, (replace(row_range, max_norm=extent.max_norm),), vectors)

    def own_collection(self, spec: IndexSpec) -> MilvusCollection:
        """Return a collection, not created yet, that is dropped when nothing refers to it any more."""
        name = f"{self._name}_{spec.kind}_{secrets.token_hex(8)}"
        collection = MilvusCollection(self.connection, name, spec)
        self._own.add(name)
        weakref.finalize(collection, self._drop_later, name).atexit = False
        return collection

    def _drop_later(self, name: str) -> None:
        # The last reference may be released in any thread, also in the event loop's.
        if name in self._own:
            self._own.discard(name)
            self._executor.submit(self._drop, name)

    def _drop(self, name: str) -> None:
        try:
            drop(self.connection, name)
        except StorageError:
            logger.warning("the collection %s could not be dropped; a later start drops it", name)

    def refill(self, row_range: RowRange, vectors: StackedVectors) -> None:
        """Refill a collection that Milvus has lost, in the background."""
        name = row_range.collection.name
        if name not in self._refilling:
            self._refilling.add(name)
            row_range.collection.filled = row_range.start  # a partly filled collection must not answer
            self._executor.submit(self._refill, row_range, vectors)

    def _refill(self, row_range: RowRange, vectors: StackedVectors) -> None:
        name = row_range.collection.name
        logger.warning("Milvus has lost the collection %s; refilling it", name)
        try:
            fill(row_range, vectors)
        except StorageError:
            logger.warning("the collection %s could not be refilled; the next search retries", name)
        finally:
            self._refilling.discard(name)

    def close(self) -> None:
        """Drop the collections that only this process uses, and close the connection."""
        own, self._own = self._own, set()
        for name in own:
            self._executor.submit(self._drop, name)
        self._executor.shutdown(wait=True)
        self.connection.close()


class MilvusSegment:
    """The rows 0..S of a catalogue; `MilvusStore.base` is the first segment.

    Args:
        store: creates collections.
        row_ranges: all rows, in order.
        vectors: of all rows.
    """

    def __init__(self, store: MilvusStore, row_ranges: tuple[RowRange, ...], vectors: StackedVectors) -> None:
        self._store = store
        self._row_ranges = row_ranges
        self._vectors = vectors

    def __len__(self) -> int:
        return self._row_ranges[-1].stop

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """See `SegmentIndex`.

        Raises:
            StorageError: Milvus is unavailable, or a collection is being refilled.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        filters = [each.row_filter(len(self)) for each in passing]
        found = []
        for row_range in self._row_ranges:
            try:
                found.append(row_range.search(queries, ks, passing, filters, self._vectors))
            except CollectionGoneError:
                self._store.refill(row_range, self._vectors)
                raise
        return [merge_hits(parts, k) for *parts, k in zip(*found, ks, strict=True)]

    def extended(self, vectors: Array) -> "MilvusSegment":
        """See `SegmentIndex`; only one thread at a time may call it.

        Raises:
            StorageError: Milvus is unavailable.
        """
        start = len(self)
        last = self._row_ranges[-1]
        if len(self._row_ranges) > 1 and last.collection.filled == start:
            kept = self._row_ranges[:-1]
        else:
            kept = self._row_ranges
            collection = self._store.own_collection(IndexSpec())
            last = RowRange(collection=collection, start=start, stop=start, max_norm=0.0, stored=None)
            fill(last, self._vectors)
        last.collection.put(start, vectors)
        grown = replace(last, stop=start + len(vectors), max_norm=max(last.max_norm, _max_norm(vectors)))
        return MilvusSegment(self._store, (*kept, grown), self._vectors.with_part(vectors))

    def rebuilt(self, vectors: Array) -> "MilvusSegment":
        """See `SegmentIndex`. The new collection has no categories; this process filters what Milvus returns.

        Raises:
            StorageError: Milvus is unavailable.
        """
        collection = self._store.own_collection(self._row_ranges[0].collection.spec)
        row_range = RowRange(collection=collection, start=0, stop=len(vectors), max_norm=0.0, stored=None)
        stacked = StackedVectors((vectors,))
        extent = fill(row_range, stacked)
        return MilvusSegment(self._store, (replace(row_range, max_norm=extent.max_norm),), stacked)


def fill(row_range: RowRange, vectors: StackedVectors) -> Extent:
    """Create the collection of a row range, write its rows, and return its content.

    Raises:
        StorageError: Milvus is unavailable.
    """
    collection, stored = row_range.collection, row_range.stored
    numbers = None if stored is None else stored.by_row()
    width = vectors.parts[0].shape[1]
    collection.create(width, max(map(len, numbers), default=1) if numbers else 1)
    max_norm = 0.0
    for first in range(row_range.start, row_range.stop, FILL_CHUNK_ROWS):
        rows = np.arange(first, min(first + FILL_CHUNK_ROWS, row_range.stop))
        part = vectors.take(rows)
        max_norm = max(max_norm, _max_norm(part))
        collection.put(first, part, None if numbers is None else numbers[first : first + len(rows)])
    extent = Extent(row_range.stop - row_range.start, max_norm)
    collection.finish(extent)
    return extent


def _max_norm(vectors: Array) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0)))
