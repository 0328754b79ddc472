"""The changes of catalogue items, and the stored state of a changed item.

`D` is the width of a semantic vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddedBy:
    """The semantic vector `(D,)` of an item's attributes, and the bundle that computed it."""

    bundle_id: str
    vector: Array


@dataclass(frozen=True, slots=True)
class PutItem:
    """An item is added, or its attributes are replaced; a field that is None is not changed."""

    id: str
    attributes_json: str
    """As written by `llmemb.item.attributes_to_json`."""
    categories: tuple[str, ...] | None
    available: bool | None
    embedded: EmbeddedBy


@dataclass(frozen=True, slots=True)
class PatchItem:
    """An item's categories or availability change; a field that is None is not changed."""

    id: str
    categories: tuple[str, ...] | None
    available: bool | None


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """An item is removed from the catalogue, with its stored state; an item of the bundle stays removed."""

    id: str


Change = PutItem | PatchItem | RemoveItem


@dataclass(frozen=True, slots=True)
class ItemState:
    """The stored state of a changed item. A field that is None is as in the bundle."""

    id: str
    attributes_json: str | None
    categories: tuple[str, ...] | None
    available: bool | None
    removed: bool
    vector: Array | None
    """The semantic vector of these attributes by the requested bundle; None if that bundle has not embedded them."""


class Follower(Protocol):
    """Follows an item log: its methods are called in the event loop's thread, in the order of the log."""

    bundle_id: str
    """The bundle whose vectors it uses."""

    def restore(self, states: Sequence[ItemState]) -> None:
        """Replace the follower's state with these states of all changed items, in the order of their first change."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply changes. Applying a change twice has no effect."""
        ...
