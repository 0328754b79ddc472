"""What can happen to an item of the catalogue, and what is kept of an item that something has happened to.

`D` the width of a semantic vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddedBy:
    """The semantic vector `(D,)` of an item's attributes, by the bundle that gave it."""

    bundle_id: str
    vector: Array


@dataclass(frozen=True, slots=True)
class PutItem:
    """An item is added, or its attributes replaced; what is None stays as it was."""

    id: str
    attributes_json: str
    """As `llmemb.item.attributes_to_json` writes them."""
    categories: tuple[str, ...] | None
    available: bool | None
    embedded: EmbeddedBy


@dataclass(frozen=True, slots=True)
class PatchItem:
    """An item's categories or availability change; what is None stays as it was."""

    id: str
    categories: tuple[str, ...] | None
    available: bool | None


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """An item leaves the catalogue, with all that was kept of it; one of the bundle stays away."""

    id: str


Change = PutItem | PatchItem | RemoveItem


@dataclass(frozen=True, slots=True)
class ItemState:
    """All that is kept of an item that was changed. What is None is as the bundle has it."""

    id: str
    attributes_json: str | None
    categories: tuple[str, ...] | None
    available: bool | None
    removed: bool
    vector: Array | None
    """The semantic vector of these attributes by the bundle that was asked for; None where it has not embedded them."""


class Follower(Protocol):
    """What follows an item log: called on the event loop's thread, in the order of the log."""

    bundle_id: str
    """Whose vectors it wants."""

    def restore(self, states: Sequence[ItemState]) -> None:
        """Take these as all that has ever changed, in the order of the items' first change."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Take changes in. One that was taken in before changes nothing."""
        ...
