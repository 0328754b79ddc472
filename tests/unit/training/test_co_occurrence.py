"""`training.co_occurrence`: near each other in a history, and how often."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.co_occurrence import CoOccurrence, Rows


def histories_of(*histories: list[int]) -> list[Rows]:
    return [np.array(rows, dtype=np.int64) for rows in histories]


@pytest.mark.parametrize(
    ("window", "neighbours"),
    [
        (1, {0: [1], 1: [0, 2], 2: [1, 3], 3: [2], 4: [5], 5: [4], 6: []}),
        (2, {0: [1, 2], 1: [0, 2, 3], 2: [0, 1, 3], 3: [1, 2], 4: [5], 5: [4], 6: []}),
        (9, {0: [1, 2, 3], 1: [0, 2, 3], 2: [0, 1, 3], 3: [0, 1, 2], 4: [5], 5: [4], 6: []}),
    ],
)
def test_neighbours_are_within_the_window_of_one_history(window: int, neighbours: dict[int, list[int]]) -> None:
    """None from the next history, whatever the window; an item alone, or in no history, has none."""
    near = CoOccurrence(histories_of([0, 1, 2, 3], [4, 5], [6], []), 8, window)

    assert {row: sorted(near.neighbours(row).tolist()) for row in neighbours} == neighbours
    assert near.neighbours(7).tolist() == []


def test_item_is_no_neighbour_of_itself() -> None:
    """A film watched twice running has no partner in itself."""
    near = CoOccurrence(histories_of([0, 0, 1], [2, 2]), 3, 2)

    assert near.neighbours(0).tolist() == [1, 1]
    assert near.partner(2, np.random.default_rng(0)) is None


@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=5), st.integers(1, 4))
def test_neighbours_are_the_pairs_counted_by_hand(histories: list[list[int]], window: int) -> None:
    """Each time that two items stand near each other counts for both."""
    near = CoOccurrence(histories_of(*histories), 6, window)
    pairs = Counter(
        (rows[i], rows[j])
        for rows in histories
        for i in range(len(rows))
        for j in range(len(rows))
        if 0 < abs(i - j) <= window and rows[i] != rows[j]
    )

    assert Counter((row, other) for row in range(6) for other in near.neighbours(row).tolist()) == pairs


def test_partners_come_as_often_as_they_stand_near() -> None:
    """Of three times, two beside item 1 and one beside item 2: two draws in three give item 1."""
    near = CoOccurrence(histories_of([0, 1], [1, 0], [0, 2]), 3, 1)
    generator = np.random.default_rng(0)
    drawn = Counter(near.partner(0, generator) for _ in range(3000))

    assert drawn.keys() == {1, 2}
    assert drawn[1] == pytest.approx(2000, abs=100)
