"""`llmemb_training.report.shown_items`: the texts of items, and the groups they are coloured by."""

from collections.abc import Sequence

import numpy as np
import pytest

from llmemb_training.report.shown_items import MAX_DETAILS_CHARACTERS, NUM_GROUPS, group_items, show_items
from tests.support.items import dataset_of


def groups_of(attributes: Sequence[dict[str, object]]) -> tuple[str, list[str]]:
    """The attribute that groups, and each item's group by name."""
    groups = group_items(dataset_of(attributes), np.arange(len(attributes)))
    assert groups.sizes == [*(int((groups.of_items == g).sum()) for g in range(len(groups.names))), groups.sizes[-1]]
    return groups.attribute, [groups.names[group] if group >= 0 else "" for group in groups.of_items]


@pytest.mark.parametrize(
    ("attributes", "name", "details"),
    [
        ({"title": "A", "tags": ["x", "y"]}, "A", "tags: x, y"),
        ({"brand": "B", "title": "A"}, "A", "brand: B"),
        ({"name": "N", "price": 3}, "N", "price: 3"),
        ({"artist": "C"}, "C", ""),
        ({"title": "two\n  lines"}, "two lines", ""),
    ],
)
def test_item_is_named_by_its_title(attributes: dict[str, object], name: str, details: str) -> None:
    """Title, else name, else the first attribute; the others are the details."""
    shown = show_items(dataset_of([attributes]), [0])[0]

    assert (shown.item_id, shown.name, shown.details) == ("i0", name, details)


def test_long_texts_are_cut() -> None:
    """A description of a thousand words does not fill the page."""
    shown = show_items(dataset_of([{"title": "word " * 100, "text": "word " * 1000}]), [0])[0]

    assert shown.name.endswith("…")
    assert len(shown.details) <= MAX_DETAILS_CHARACTERS


def test_items_come_by_row() -> None:
    """Rows may be asked for in any order and twice."""
    shown = show_items(dataset_of([{"title": str(row)} for row in range(5)]), [3, 1, 3])

    assert {row: item.name for row, item in shown.items()} == {1: "1", 3: "3"}


def test_level_of_a_path_that_divides_is_found() -> None:
    """What all share groups none; an item goes to the broader of two common values."""
    paths = [["All", "Tools", "Drills"]] * 3 + [["All", "Tools", "Saws"]] * 2 + [["All", "Toys", "Dolls"]] * 4
    attribute, groups = groups_of([{"title": str(row), "categories": path} for row, path in enumerate(paths)])

    assert attribute == "categories"
    assert groups == ["Tools"] * 5 + ["Toys"] * 4


def test_list_goes_before_single_values() -> None:
    """A brand that covers more items does not go before the categories."""
    items = [{"brand": "AB"[row % 2], "categories": ["x"] if row < 3 else [f"rare {row}"]} for row in range(8)]

    assert groups_of(items) == ("categories", ["x"] * 3 + [""] * 5)


def test_single_values_group_where_there_is_no_list() -> None:
    """The attribute whose common values cover the most items, not the one that names them apart."""
    items = [{"title": f"t{row}", "year": str(row // 4), "studio": "same"} for row in range(12)]

    assert groups_of(items) == ("year", ["0"] * 4 + ["1"] * 4 + ["2"] * 4)


def test_groups_are_few_and_the_rest_is_of_none() -> None:
    """Outside the eight largest groups, items have no colour."""
    items = [{"tags": [f"t{row // 3:02d}"]} for row in range(3 * NUM_GROUPS + 6)]
    _, groups = groups_of(items)

    assert len(set(groups) - {""}) == NUM_GROUPS
    assert groups.count("") == 6


def test_items_with_nothing_in_common_have_no_groups() -> None:
    """Without a common value there is nothing to colour by."""
    assert groups_of([{"title": str(row)} for row in range(4)]) == ("", [""] * 4)
