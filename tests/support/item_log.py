"""What tests of both item logs share: a follower that is a plain dict, and what changes come to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from llmemb_service.storage.changes import Change, EmbeddedBy, ItemState, PatchItem, PutItem, RemoveItem

BUNDLES = ("b1", "b2")


@dataclass(frozen=True)
class Kept:
    """An item's state that can be compared: a vector as its numbers."""

    attributes: str | None = None
    categories: tuple[str, ...] | None = None
    available: bool | None = None
    removed: bool = False
    vector: tuple[float, ...] | None = None


class DictFollower:
    """Keeps changes in a dict, in the order of the items' first change."""

    def __init__(self, bundle_id: str = "b1") -> None:
        self.bundle_id = bundle_id
        self.items: dict[str, Kept] = {}
        self.restorations = 0
        self.told: list[str] = []

    def restore(self, states: Sequence[ItemState]) -> None:
        self.restorations += 1
        self.items = {state.id: kept(state) for state in states}

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.told.append(change.id)
            self.items[change.id] = changed(self.items.get(change.id, Kept()), change, self.bundle_id)


def kept(state: ItemState) -> Kept:
    """A state that can be compared."""
    vector = None if state.vector is None else tuple(state.vector.tolist())
    return Kept(state.attributes_json, state.categories, state.available, state.removed, vector)


def changed(item: Kept, change: Change, bundle_id: str) -> Kept:
    """What a change makes of an item, for a follower of this bundle."""
    if isinstance(change, RemoveItem):
        return Kept(removed=True)
    categories = item.categories if change.categories is None else change.categories
    available = item.available if change.available is None else change.available
    if isinstance(change, PatchItem):
        return item if item.removed else replace(item, categories=categories, available=available)
    vector = item.vector if item.attributes == change.attributes_json else None
    if change.embedded.bundle_id == bundle_id:
        vector = tuple(change.embedded.vector.tolist())
    return Kept(change.attributes_json, categories, available, False, vector)


def put(item_id: str, number: float = 0, **others: object) -> PutItem:
    """An item whose attributes and vector say a number."""
    vector = np.array([number, -number], dtype=np.float32)
    made = PutItem(item_id, f'{{"title":"é {number}"}}', None, None, EmbeddedBy("b1", vector))
    return replace(made, **others)  # type: ignore[arg-type]


def changes(ids: Sequence[str]) -> st.SearchStrategy[Change]:
    """Changes of few items, so that they meet; a put by one bundle is pending for the other."""
    some = st.sampled_from(ids)
    categories = st.none() | st.lists(st.sampled_from(["x", 'y"']), max_size=2).map(tuple)
    available = st.none() | st.booleans()
    embedded = st.builds(
        lambda bundle_id, number: EmbeddedBy(bundle_id, np.array([number, -number], dtype=np.float32)),
        st.sampled_from(BUNDLES),
        st.integers(0, 3),
    )
    attributes = st.sampled_from(['{"title":"1"}', '{"title":"2"}', '{"title":"é \\" 2"}'])
    puts = st.builds(PutItem, some, attributes, categories, available, embedded)
    return puts | st.builds(PatchItem, some, categories, available) | st.builds(RemoveItem, some)
