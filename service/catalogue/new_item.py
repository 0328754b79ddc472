"""An item on its way into the catalogue, checked, its text not embedded yet."""

from dataclasses import dataclass

from llmemb.item import Attributes


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to add, or to put in place of the one with the id; what is None stays as it was."""

    id: str
    attributes: Attributes
    categories: tuple[str, ...] | None = None
    available: bool | None = None
