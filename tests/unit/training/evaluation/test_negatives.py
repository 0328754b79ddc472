"""`llmemb_training.evaluation.ranking`: what may be drawn, how often, and what happens where little is left."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.errors import DataError
from llmemb_training.data.dataset import Rows, Targets
from llmemb_training.evaluation.ranking import NEGATIVES_CHUNK, draw_negatives


def targets_of(rows: Sequence[int], histories: Sequence[Sequence[int]]) -> Targets:
    users = tuple(f"u{i}" for i in range(len(rows)))
    return Targets(users, [np.array(h, dtype=np.int64) for h in histories], np.array(rows, dtype=np.int64))


ITEMS = 30


@given(
    st.lists(st.tuples(st.integers(0, ITEMS - 1), st.lists(st.integers(0, ITEMS - 1), max_size=8)), max_size=5),
    st.integers(1, ITEMS - 9),
    st.integers(0, 100),
)
def test_negatives_are_different_items_the_user_never_met(
    users: list[tuple[int, list[int]]], count: int, seed: int
) -> None:
    """Neither the target nor anything of the user's is drawn, and nothing twice; the seed decides."""
    targets = targets_of([target for target, _ in users], [[] for _ in users])
    interacted: list[Rows] = [np.array(met, dtype=np.int64) for _, met in users]
    drawn = draw_negatives(targets, interacted, ITEMS, count, np.random.default_rng(seed))

    assert drawn.shape == (len(users), count)
    for (target, met), negatives in zip(users, drawn.tolist(), strict=True):
        assert len(set(negatives)) == count
        assert set(negatives) <= set(range(ITEMS)) - {target, *met}
    assert np.array_equal(draw_negatives(targets, interacted, ITEMS, count, np.random.default_rng(seed)), drawn)


@pytest.mark.parametrize("taken", [[1], [1, 2, 3, 4, 5, 6, 7]])
def test_negatives_are_uniform(taken: list[int]) -> None:
    """Every item left is drawn about as often as another, by drawing again and from a list; the seed decides."""
    targets = targets_of([0] * 3000, [[]] * 3000)
    interacted: list[Rows] = [np.array(taken, dtype=np.int64)] * 3000
    drawn = draw_negatives(targets, interacted, 12, 3, np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=12)
    expected = 3000 * 3 / (11 - len(taken))

    assert counts[[0, *taken]].tolist() == [0] * (1 + len(taken))
    assert (abs(np.delete(counts, [0, *taken]) - expected) < expected / 10).all()
    assert not np.array_equal(drawn, draw_negatives(targets, interacted, 12, 3, np.random.default_rng(1)))


def test_more_targets_than_a_chunk() -> None:
    """Each target of each chunk gets different items that are not its own."""
    rows = np.arange(NEGATIVES_CHUNK + 10) % 50
    targets = targets_of(rows.tolist(), [[]] * len(rows))
    drawn = draw_negatives(targets, [np.array([i, (i + 1) % 50]) for i in rows], 50, 9, np.random.default_rng(0))

    assert all(len(set(line)) == 9 for line in drawn.tolist())
    assert not (drawn == rows[:, None]).any()
    assert not (drawn == (rows[:, None] + 1) % 50).any()


def test_too_few_items_are_drawn_more_than_once() -> None:
    """A user who met almost everything still gets the number of negatives."""
    drawn = draw_negatives(targets_of([0], [[]]), [np.array([1, 2])], 5, 10, np.random.default_rng(0))

    assert drawn.shape == (1, 10)
    assert set(drawn[0].tolist()) == {3, 4}


def test_user_who_met_every_item_is_named() -> None:
    """There is nothing to rank the target among."""
    with pytest.raises(DataError, match=r"^user 'u0' interacted with all items"):
        draw_negatives(targets_of([0], [[]]), [np.array([1, 2])], 3, 10, np.random.default_rng(0))
