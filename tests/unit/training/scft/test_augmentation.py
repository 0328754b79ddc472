"""`llmemb_training.scft.batches`: the two views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.scft.batches import draw_view

NAMES = [f"attribute {number}" for number in range(10)]


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(1, 0.4, 1), (2, 0.4, 2), (3, 0.4, 2), (4, 0.4, 3), (5, 0.4, 3), (10, 0.4, 6), (10, 0.0, 10), (3, 0.99, 1)],
)
def test_view_drops_the_floor_of_the_share(count: int, share: float, kept: int) -> None:
    """`floor(share * n)` attributes go, and at least one stays."""
    assert len(draw_view(NAMES[:count], share, np.random.default_rng(0))) == kept


@given(st.integers(1, 10), st.floats(0, 1), st.integers(0, 1000))
def test_view_is_of_different_attributes_of_the_item(count: int, share: float, seed: int) -> None:
    """None comes twice and none from elsewhere, whatever the share."""
    view = draw_view(NAMES[:count], share, np.random.default_rng(seed))

    assert len(view) == len(set(view)) >= 1
    assert set(view) <= set(NAMES[:count])


def test_views_are_shuffled_and_drawn_independently() -> None:
    """One generator gives different orders and different attributes; another of the same seed gives them again."""
    first, second = np.random.default_rng(0), np.random.default_rng(0)
    views = [draw_view(NAMES, 0.4, first) for _ in range(50)]

    assert [draw_view(NAMES, 0.4, second) for _ in range(50)] == views
    assert len({tuple(view) for view in views}) == 50
    assert {view[0] for view in views} == set(NAMES)
