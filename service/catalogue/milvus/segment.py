"""The base of a catalogue in Milvus. What stays in this process is said in `docs/decisions`.

A bundle's items are one collection, shared by all replicas and found again by the next process. Items that are folded
in go into a collection of this process alone, which grows: an older snapshot looks past the rows that it does not
know. Both are dropped when nobody uses them.

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
from service.catalogue.milvus.collection import PREFIX, Extent, MilvusCollection, drop, drop_unused
from service.catalogue.milvus.connection import CollectionGoneError, MilvusConnection
from service.catalogue.milvus.filters import StoredCategories
from service.catalogue.milvus.search import StackedVectors, Stretch
from service.catalogue.snapshot.rows import Passing
from service.errors import StorageError

MEASURED_TOGETHER = 2**16

logger = logging.getLogger(__name__)


class MilvusStore:
    """The collections of one bundle that this process uses. All of it waits for Milvus: never on the event loop.

    Args:
        bundle: whose items are the base.
        uri: of a server, or the path of a Milvus Lite file, which must end with `.db`.
        token: what the server asks for; empty where it asks for nothing.

    Raises:
        StorageError: Milvus is away.
    """

    def __init__(self, bundle: Bundle, uri: str, token: str) -> None:
        self.connection = MilvusConnection(uri, token)
        self._name = f"{PREFIX}{bundle.manifest.id}"
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="milvus")
        self._own: set[str] = set()
        self._remaking: set[str] = set()
        drop_unused(self.connection)
        self.base = self._open(bundle)

    def _open(self, bundle: Bundle) -> "MilvusSegment":
        spec = bundle.index.spec
        stored = StoredCategories.of(bundle.items.attributes_json, bundle.manifest.categories_attribute)
        collection = MilvusCollection(self.connection, f"{self._name}_{spec.kind}", spec)
        vectors = StackedVectors((bundle.item_vectors,))
        stretch = Stretch(collection=collection, start=0, stop=len(vectors), longest=0.0, stored=stored)
        extent = collection.extent()
        if extent is None or extent.rows != len(vectors):
            logger.info("Milvus is given the %d items of bundle %s", len(vectors), bundle.manifest.id)
            extent = fill(stretch, vectors)
        collection.filled = extent.rows
        return MilvusSegment(self, (replace(stretch, longest=extent.longest),), vectors)

    def own_collection(self, spec: IndexSpec) -> MilvusCollection:
        """Return a collection, not made yet, that is dropped when nothing refers to it any more."""
        name = f"{self._name}_{spec.kind}_{secrets.token_hex(8)}"
        collection = MilvusCollection(self.connection, name, spec)
        self._own.add(name)
        weakref.finalize(collection, self._drop_later, name).atexit = False
        return collection

    def _drop_later(self, name: str) -> None:
        # The last snapshot may go in any thread, that of the event loop included.
        if name in self._own:
            self._own.discard(name)
            self._janitor.submit(self._drop, name)

    def _drop(self, name: str) -> None:
        try:
            drop(self.connection, name)
        except StorageError:
            logger.warning("the collection %s could not be dropped; a later start drops it", name)

    def remake(self, stretch: Stretch, vectors: StackedVectors) -> None:
        """Fill a collection again that Milvus has lost, in the background."""
        name = stretch.collection.name
        if name not in self._remaking:
            self._remaking.add(name)
            stretch.collection.filled = stretch.start  # what is half filled does not answer
            self._janitor.submit(self._remake, stretch, vectors)

    def _remake(self, stretch: Stretch, vectors: StackedVectors) -> None:
        name = stretch.collection.name
        logger.warning("Milvus has lost the collection %s; it is filled again", name)
        try:
            fill(stretch, vectors)
        except StorageError:
            logger.warning("the collection %s could not be filled; the next search tries again", name)
        finally:
            self._remaking.discard(name)

    def close(self) -> None:
        """Drop what only this process used, and give the connection back."""
        own, self._own = self._own, set()
        for name in own:
            self._janitor.submit(self._drop, name)
        self._janitor.shutdown(wait=True)
        self.connection.close()


class MilvusSegment:
    """The rows 0..S of a catalogue; `MilvusStore.base` is the first.

    Args:
        store: makes collections.
        stretches: all rows, in order.
        vectors: of all rows.
    """

    def __init__(self, store: MilvusStore, stretches: tuple[Stretch, ...], vectors: StackedVectors) -> None:
        self._store = store
        self._stretches = stretches
        self._vectors = vectors

    def __len__(self) -> int:
        return self._stretches[-1].stop

    def search(self, queries: Array, ks: Sequence[int], passing: Sequence[Passing]) -> list[Hits]:
        """See `SegmentIndex`.

        Raises:
            StorageError: Milvus is away, or is being filled again.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        filters = [each.row_filter(len(self)) for each in passing]
        found = []
        for stretch in self._stretches:
            try:
                found.append(stretch.search(queries, ks, passing, filters, self._vectors))
            except CollectionGoneError:
                self._store.remake(stretch, self._vectors)
                raise
        return [merge_hits(parts, k) for *parts, k in zip(*found, ks, strict=True)]

    def extended(self, vectors: Array) -> "MilvusSegment":
        """See `SegmentIndex`; one thread at a time may call it.

        Raises:
            StorageError: Milvus is away.
        """
        start = len(self)
        last = self._stretches[-1]
        if len(self._stretches) > 1 and last.collection.filled == start:
            kept = self._stretches[:-1]
        else:
            kept = self._stretches
            collection = self._store.own_collection(IndexSpec())
            last = Stretch(collection=collection, start=start, stop=start, longest=0.0, stored=None)
            fill(last, self._vectors)
        last.collection.put(start, vectors)
        grown = replace(last, stop=start + len(vectors), longest=max(last.longest, _longest(vectors)))
        return MilvusSegment(self._store, (*kept, grown), self._vectors.with_part(vectors))

    def rebuilt(self, vectors: Array) -> "MilvusSegment":
        """See `SegmentIndex`. Categories are not stored again: what Milvus finds is sifted.

        Raises:
            StorageError: Milvus is away.
        """
        collection = self._store.own_collection(self._stretches[0].collection.spec)
        stretch = Stretch(collection=collection, start=0, stop=len(vectors), longest=0.0, stored=None)
        stacked = StackedVectors((vectors,))
        extent = fill(stretch, stacked)
        return MilvusSegment(self._store, (replace(stretch, longest=extent.longest),), stacked)


def fill(stretch: Stretch, vectors: StackedVectors) -> Extent:
    """Make a stretch's collection and put its rows there; return what it then holds.

    Raises:
        StorageError: Milvus is away.
    """
    collection, stored = stretch.collection, stretch.stored
    numbers = None if stored is None else stored.by_row()
    width = vectors.parts[0].shape[1]
    collection.create(width, max(map(len, numbers), default=1) if numbers else 1)
    longest = 0.0
    for first in range(stretch.start, stretch.stop, MEASURED_TOGETHER):
        rows = np.arange(first, min(first + MEASURED_TOGETHER, stretch.stop))
        part = vectors.take(rows)
        longest = max(longest, _longest(part))
        collection.put(first, part, None if numbers is None else numbers[first : first + len(rows)])
    extent = Extent(stretch.stop - stretch.start, longest)
    collection.finish(extent)
    return extent


def _longest(vectors: Array) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0)))
