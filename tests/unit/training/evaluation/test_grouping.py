"""`llmemb_training.evaluation.grouping`: bounds by hand, and every target in exactly one group of each kind."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.evaluation.figures import GroupBounds
from llmemb_training.evaluation.grouping import group_bounds, group_masks

COUNTS = np.array([1] * 6 + [2] * 2 + [3] * 2 + [4, 5, 6, 7, 8, 9, 10, 20, 30, 40])
LENGTHS = np.array([2, 3, 4, 5, 6, 7, 8, 9, 10, 11])


def spans(bounds: tuple[GroupBounds, ...]) -> dict[str, tuple[int, int | None, int]]:
    return {group.group: (group.low, group.high, group.members) for group in bounds}


def masks(counts: list[int], lengths: list[int], bounds: tuple[GroupBounds, ...]) -> dict[str, list[bool]]:
    found = group_masks(np.array(counts, dtype=np.int64), np.array(lengths, dtype=np.int64), bounds)
    return {name: mask.tolist() for name, mask in found.items()}


def test_bounds_by_hand() -> None:
    """20 items and 10 users: equal values stay together, and a group ends where it is nearest to its share."""
    assert spans(group_bounds(COUNTS, LENGTHS, 0.8)) == {
        "tail": (0, 9, 16),
        "head": (10, None, 4),
        "popularity_1": (0, 1, 6),
        "popularity_2": (2, 2, 2),
        "popularity_3": (3, 5, 4),
        "popularity_4": (6, 9, 4),
        "popularity_5": (10, None, 4),
        "tail_users": (0, 9, 8),
        "head_users": (10, None, 2),
        "length_1": (0, 3, 2),
        "length_2": (4, 5, 2),
        "length_3": (6, 7, 2),
        "length_4": (8, 9, 2),
        "length_5": (10, None, 2),
    }


def test_equal_values_leave_fewer_groups() -> None:
    """Three different lengths make three groups, however many users have the commonest."""
    bounds = spans(group_bounds(np.array([4, 4, 4]), np.array([2] * 98 + [3, 9]), 0.8))

    assert bounds["popularity_1"] == (0, None, 3)
    assert "popularity_2" not in bounds
    assert [bounds[f"length_{part}"] for part in (1, 2, 3)] == [(0, 2, 98), (3, 3, 1), (4, None, 1)]
    assert "length_4" not in bounds


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.lists(st.integers(1, 12), min_size=1, max_size=30),
    st.floats(0.1, 0.9),
)
def test_groups_of_a_kind_hold_every_target_once(counts: list[int], lengths: list[int], share: float) -> None:
    """Bounds leave no gap and do not overlap, whatever the values; no group is without a member."""
    bounds = group_bounds(np.array(counts), np.array(lengths), share)
    sizes = {name: sum(mask) for name, mask in masks(counts, [lengths[0]] * len(counts), bounds).items()}

    assert sizes["all"] == len(counts)
    for kind in (("tail", "head"), ("tail_users", "head_users"), ("popularity_",), ("length_",)):
        assert sum(size for name, size in sizes.items() if name in kind or name[:-1] in kind) == len(counts)
    assert all(group.members for group in bounds if group.group not in ("head", "head_users"))
    assert sum(group.members for group in bounds if group.group.startswith("length_")) == len(lengths)


def test_targets_go_where_the_bounds_say() -> None:
    """By the item's count and by the user's history; a group without targets is left out: it has no mean."""
    assert masks([0, 9, 10], [10, 2, 3], group_bounds(COUNTS, LENGTHS, 0.8)) == {
        "all": [True, True, True],
        "tail": [True, True, False],
        "head": [False, False, True],
        "popularity_1": [True, False, False],
        "popularity_4": [False, True, False],
        "popularity_5": [False, False, True],
        "tail_users": [False, True, True],
        "head_users": [True, False, False],
        "length_1": [False, True, True],
        "length_5": [True, False, False],
    }


def test_no_users_of_the_test_make_no_length_groups() -> None:
    """A dataset of cold targets alone has groups of items only."""
    bounds = group_bounds(COUNTS, np.empty(0, dtype=np.int64), 0.8)

    assert {group.by for group in bounds} == {"target_train_count"}
