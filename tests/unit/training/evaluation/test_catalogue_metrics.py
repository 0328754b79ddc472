"""`llmemb_training.evaluation.measuring`: by hand, and the Gini coefficient by its definition."""

import numpy as np
import pytest

from llmemb_training.evaluation.measuring import coverage, gini, tail_share

SLOTS = np.array([0, 0, 0, 2, 2, 3])
NOTHING = np.empty(0, dtype=np.int64)


def test_coverage_counts_each_item_once() -> None:
    """Three of five items are recommended."""
    assert coverage(SLOTS, 5) == pytest.approx(3 / 5)
    assert coverage(NOTHING, 5) == 0.0


def test_tail_share_counts_slots() -> None:
    """Two slots of six hold the tail item 2."""
    assert tail_share(SLOTS, np.array([False, True, True, False, True])) == pytest.approx(2 / 6)
    assert tail_share(NOTHING, np.array([True])) == 0.0


@pytest.mark.parametrize(
    ("slots", "expected"),
    [([0, 1, 2, 3], 0.0), ([3, 3, 0, 0, 1, 1, 2, 2], 0.0), ([1, 1, 1, 1], 3 / 4), ([], 0.0)],
)
def test_gini_of_known_distributions(slots: list[int], expected: float) -> None:
    """All alike is 0; one item that has all is `1 - 1 / N`."""
    assert gini(np.array(slots, dtype=np.int64), 4) == pytest.approx(expected)


def test_gini_is_half_the_relative_mean_difference() -> None:
    """The mean absolute difference of all pairs of items, over twice the mean."""
    slots = np.random.default_rng(0).zipf(1.5, 500) % 20
    counts = np.bincount(slots, minlength=20)
    expected = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())

    assert gini(slots, 20) == pytest.approx(expected)
