"""`training.pairs`: which two items a pair shows, and as which texts."""

from dataclasses import replace

import numpy as np
import pytest

from llmemb.prompt import PromptSpec
from training.co_occurrence import CoOccurrence
from training.pairs import Pair, PairDrawer

NAMES = ("title", "year", "maker", "colour")
DRAWER = PairDrawer(
    attributes_json=["{" + ",".join(f'"{name}":"{name} of {row}"' for name in NAMES) + "}" for row in range(4)],
    prompt=PromptSpec("thing", NAMES),
    drop_share=0.5,
    seed=3,
)
NEAR = CoOccurrence([np.array([0, 1]), np.array([1, 2])], 4, 1)


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_pair_is_always_the_same(in_turn: bool) -> None:
    """Another drawer of the same seed gives it again; another seed, epoch or item gives another."""
    drawer = replace(DRAWER, near=NEAR, in_turn=in_turn)
    pairs = [drawer(epoch, row) for epoch in range(3) for row in range(4)]

    assert [replace(drawer)(epoch, row) for epoch in range(3) for row in range(4)] == pairs
    assert len({(pair.first, pair.second) for pair in pairs}) == len(pairs)
    assert replace(drawer, seed=4)(0, 0) != pairs[0]


def test_views_are_of_the_item_s_own_attributes() -> None:
    """Half of them each, drawn for each side alone, both of the item itself."""
    pair = DRAWER(0, 2)
    lines = [text.splitlines()[1].split("; ") for text in (pair.first, pair.second)]

    assert (pair.first_row, pair.second_row) == (2, 2)
    assert [len(line) for line in lines] == [2, 2]
    assert {part for line in lines for part in line} <= {f"{name} is {name} of 2" for name in NAMES}


def test_partners_are_near_items() -> None:
    """Each side is a view of its own item; an item that stands near none is paired with itself."""
    drawer = replace(DRAWER, near=NEAR)
    drawn = {row: {drawer(epoch, row).second_row for epoch in range(30)} for row in range(4)}
    pair = drawer(0, 0)

    assert drawn == {0: {1}, 1: {0, 2}, 2: {1}, 3: {3}}
    assert "of 0" in pair.first
    assert "of 1" in pair.second


def test_both_kinds_come_in_turn() -> None:
    """Each item every other epoch, half of the items in each."""
    drawer = replace(DRAWER, near=NEAR, in_turn=True)
    itself = [[drawer(epoch, row).second_row == row for row in range(3)] for epoch in range(3)]

    assert itself == [[False, True, False], [True, False, True], [False, True, False]]


def test_identity_tells_items_and_texts_apart() -> None:
    """Equal texts have equal hashes on either side, whatever the item; different texts have different ones."""
    first, second = Pair("a", "b", 0, 1).identity(), Pair("b", "c", 2, 2).identity()

    assert first[:2] == (0, 1)
    assert first[3] == second[2]
    assert len({first[2], first[3], second[3]}) == 3
    assert all(-(2**63) <= number < 2**63 for number in first)
