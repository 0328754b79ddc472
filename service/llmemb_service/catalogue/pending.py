"""Items that are not in a snapshot yet: new ones that are not embedded, and logged ones that this bundle must embed."""

from dataclasses import dataclass, replace

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, attributes_from_json
from llmemb_service.storage.changes import Array, EmbeddedBy, PatchItem, PutItem


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to add, or to replace the one with the same id; None keeps the old value."""

    id: str
    attributes: Attributes
    categories: tuple[str, ...] | None = None
    available: bool | None = None


@dataclass(frozen=True, slots=True)
class PendingItem:
    """An item of the log that has no vector of this bundle."""

    id: str
    attributes_json: str
    categories: tuple[str, ...] | None
    available: bool | None

    @property
    def attributes(self) -> Attributes:
        """The parsed attributes."""
        return attributes_from_json(self.attributes_json)

    def is_known_to(self, prompt: PromptSpec) -> bool:
        """Return whether a bundle with this prompt can embed the item."""
        try:
            prompt.check(self.attributes)
        except InvalidItemError:
            return False
        return True

    def patched(self, change: PatchItem) -> "PendingItem":
        """Return the item with changed categories or availability."""
        return replace(
            self,
            categories=self.categories if change.categories is None else change.categories,
            available=self.available if change.available is None else change.available,
        )

    def put(self, bundle_id: str, vector: Array) -> PutItem:
        """Return the change that puts the item into a snapshot, with its semantic vector `(D,)`."""
        return PutItem(self.id, self.attributes_json, self.categories, self.available, EmbeddedBy(bundle_id, vector))
