"""Display texts of items: a name, a line of details, and a colour group."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmemb.item import Attributes, AttributeValue, attributes_from_json
from llmemb_training.data.dataset import Dataset, Rows

NAMES = ("title", "name")
"""Attributes used as an item's name; the first attribute is the fallback."""
MAX_NAME_CHARACTERS = 90
MAX_DETAILS_CHARACTERS = 140
NUM_GROUPS = 8
MAX_GROUP_SHARE = 0.6
"""Maximum share of the items with the same value; a more common value does not distinguish items."""


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item's texts from the source; untrusted input."""

    item_id: str
    name: str
    details: str


@dataclass(frozen=True, slots=True)
class Groups:
    """Items grouped by the common values of one attribute.

    Args:
        attribute: the attribute; "" if no attribute has common values.
        names: the values, largest group first.
        of_items: position in `names` of each item's group, -1 for none, `(n,)`.
    """

    attribute: str
    names: tuple[str, ...]
    of_items: Rows

    @property
    def sizes(self) -> list[int]:
        """Number of items in each group, and last of the items without a group."""
        return [int((self.of_items == group).sum()) for group in [*range(len(self.names)), -1]]


def show_items(dataset: Dataset, rows: Sequence[int]) -> dict[int, ShownItem]:
    """Return the texts of some item rows."""
    wanted = sorted(set(rows))
    chosen = dataset.items[wanted]
    return {
        row: _show(item_id, attributes_from_json(text))
        for row, item_id, text in zip(wanted, chosen["item_id"], chosen["attributes"], strict=True)
    }


def _show(item_id: str, attributes: Attributes) -> ShownItem:
    naming = next((name for name in NAMES if name in attributes), next(iter(attributes)))
    others = "; ".join(f"{name}: {_text(value)}" for name, value in attributes.items() if name != naming)
    return ShownItem(
        item_id, _cut(_text(attributes[naming]), MAX_NAME_CHARACTERS), _cut(others, MAX_DETAILS_CHARACTERS)
    )


def _text(value: AttributeValue) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _cut(text: str, characters: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def group_items(dataset: Dataset, rows: Rows) -> Groups:
    """Group items by the attribute whose common values cover most of them; list-valued attributes are preferred.

    The most frequent value is the first group, the most frequent value of the remaining items the second, and so on.
    For paths from broad to narrow, such as Amazon's categories, this finds the level that best divides the items.
    """
    attributes = [attributes_from_json(text) for text in dataset.items["attributes"].gather(rows)]
    best = Groups("", (), np.full(len(rows), -1, dtype=np.int64))
    best_key = (False, 0)
    for name in dataset.info.attribute_names:
        values = [_values(item.get(name, ())) for item in attributes]
        groups = _group(name, values)
        is_list = any(isinstance(item.get(name), tuple) for item in attributes)
        key = (is_list, len(rows) - groups.sizes[-1])
        if groups.names and key > best_key:
            best, best_key = groups, key
    return best


def _values(value: AttributeValue) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _group(attribute: str, values: Sequence[tuple[str, ...]]) -> Groups:
    counts = Counter(value for item in values for value in set(item))
    allowed = {value for value, count in counts.items() if 2 <= count <= MAX_GROUP_SHARE * len(values)}
    # Of two values with the same items, the one earlier in the list is the broader one.
    place = {value: position for item in reversed(values) for position, value in enumerate(item)}
    of_items = np.full(len(values), -1, dtype=np.int64)
    names: list[str] = []
    while len(names) < NUM_GROUPS:
        left = Counter(
            value for row, item in enumerate(values) if of_items[row] < 0 for value in set(item) if value in allowed
        )
        if not left:
            break
        value, count = min(left.items(), key=lambda pair: (-pair[1], place[pair[0]], pair[0]))
        if count < 2:
            break
        for row, item in enumerate(values):
            if of_items[row] < 0 and value in item:
                of_items[row] = len(names)
        names.append(value)
    return Groups(attribute, tuple(names), of_items)
