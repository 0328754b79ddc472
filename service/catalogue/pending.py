"""Items on their way into the catalogue: checked and not embedded yet, or in the log and not in a snapshot yet."""

from dataclasses import dataclass, replace

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, attributes_from_json
from service.storage.changes import Array, EmbeddedBy, PatchItem, PutItem


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to add, or to put in place of the one with the id; what is None stays as it was."""

    id: str
    attributes: Attributes
    categories: tuple[str, ...] | None = None
    available: bool | None = None


@dataclass(frozen=True, slots=True)
class PendingItem:
    """An item as the log has it."""

    id: str
    attributes_json: str
    categories: tuple[str, ...] | None
    available: bool | None

    @property
    def attributes(self) -> Attributes:
        """Its attributes."""
        return attributes_from_json(self.attributes_json)

    def is_known_to(self, prompt: PromptSpec) -> bool:
        """Say whether a bundle with this prompt can embed it."""
        try:
            prompt.check(self.attributes)
        except InvalidItemError:
            return False
        return True

    def patched(self, change: PatchItem) -> "PendingItem":
        """Return it after a change of its categories or availability."""
        return replace(
            self,
            categories=self.categories if change.categories is None else change.categories,
            available=self.available if change.available is None else change.available,
        )

    def put(self, bundle_id: str, vector: Array) -> PutItem:
        """Return the change that puts it into a snapshot, by its semantic vector `(D,)`."""
        return PutItem(self.id, self.attributes_json, self.categories, self.available, EmbeddedBy(bundle_id, vector))
