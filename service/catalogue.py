"""The live catalogue: a snapshot that answers, and the store that it outlives the process by."""

import logging
import threading
from collections.abc import Sequence

from llmemb.bundle import Bundle
from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, Item, attributes_from_json, attributes_to_json
from service.embedding import Array, ItemEmbedder
from service.errors import CatalogueFullError
from service.item_store import ItemStore, StoredItem
from service.metrics import Metrics
from service.snapshot import Snapshot

CHUNK_ITEMS = 256
"""Stored items that are embedded together when a bundle takes over another's."""

logger = logging.getLogger(__name__)


class Catalogue:
    """The items that can be recommended now.

    Readers take `snapshot` once and never lock; an addition makes the next snapshot and puts it there in one
    assignment.

    Args:
        bundle: the catalogue's base.
        store: of the added items.
        max_added_items: how many there may be.
        metrics: told of the catalogue's size.
    """

    def __init__(self, bundle: Bundle, store: ItemStore, *, max_added_items: int, metrics: Metrics) -> None:
        self._bundle = bundle
        self._store = store
        self._max_added_items = max_added_items
        self._metrics = metrics
        self._adding = threading.Lock()
        self.left_out = 0
        """Stored items that the bundle's prompt cannot say."""
        self._show(Snapshot.of(bundle))

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._metrics.catalogue_items.labels("bundle").set(len(snapshot) - len(snapshot.added))
        self._metrics.catalogue_items.labels("added").set(len(snapshot.added))
        self._metrics.left_out_items.set(self.left_out)

    def add(self, items: Sequence[Item], semantic: Sequence[Array]) -> None:
        """Add items or replace those of the same ids; on disk and in the snapshot when this returns.

        It waits for the disk, so it is called from a thread; what one call adds is there whole or not at all.

        Raises:
            CatalogueFullError: there would be too many added items.
            StorageError: the disk does not take them.
        """
        with self._adding:
            places = self.snapshot.places
            new = sum(item.id not in places for item in items)
            if new and len(places) + new > self._max_added_items:
                raise CatalogueFullError(
                    f"{len(places)} items were added to the bundle's and there may be {self._max_added_items}; "
                    "the request's were not added"
                )
            self._put(items, semantic)

    def _put(self, items: Sequence[Item], semantic: Sequence[Array]) -> None:
        stored = [
            StoredItem(item.id, attributes_to_json(item.attributes), vector, self._bundle.manifest.id)
            for item, vector in zip(items, semantic, strict=True)
        ]
        snapshot = self.snapshot.with_items(stored)
        self._store.put(stored)
        self._show(snapshot)

    async def load(self, embedder: ItemEmbedder) -> None:
        """Take the stored items in; those of another bundle are embedded again and stored so.

        An item with an attribute that this bundle does not know stays in the store and out of the catalogue.

        Raises:
            LlmembError: the encoder or the store does not work.
        """
        bundle_id = self._bundle.manifest.id
        usable, stale = [], []
        for item in self._store.read_all():
            if item.bundle_id == bundle_id:
                usable.append(item)
            elif (attributes := self._known_attributes(item)) is None:
                self.left_out += 1
            else:
                stale.append(Item(item.id, attributes))
        if self.left_out:
            logger.warning(
                "%d stored items have attributes that the bundle %s does not know: left out", self.left_out, bundle_id
            )
        self._show(self.snapshot.with_items(usable))
        for start in range(0, len(stale), CHUNK_ITEMS):
            chunk = stale[start : start + CHUNK_ITEMS]
            vectors = await embedder.embed([item.attributes for item in chunk])
            self._put(chunk, [embedded.vector for embedded in vectors])
            logger.info("%d of %d items of another bundle embedded again", start + len(chunk), len(stale))

    def close(self) -> None:
        """Close the store, after the addition that may be running."""
        with self._adding:
            self._store.close()

    def _known_attributes(self, item: StoredItem) -> Attributes | None:
        attributes = attributes_from_json(item.attributes_json)
        try:
            self._bundle.prompt.check(attributes)
        except InvalidItemError:
            return None
        return attributes
