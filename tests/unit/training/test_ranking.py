"""`training.ranking`: ranks against hand-worked tables and a naive sort, and the metrics made of them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb.session import session_vectors
from training.dataset import Rows, Targets
from training.ranking import (
    CHUNK,
    Array,
    Scorer,
    draw_negatives,
    full_ranks,
    hit_rate,
    ndcg,
    rank_targets,
    sampled_ranks,
)

INF = float("inf")
NAN = float("nan")


def targets_of(rows: Sequence[int], histories: Sequence[Sequence[int]]) -> Targets:
    users = tuple(f"u{i}" for i in range(len(rows)))
    return Targets(users, [np.array(h, dtype=np.int64) for h in histories], np.array(rows, dtype=np.int64))


def scorer_of(*scores: Sequence[float]) -> Scorer:
    """Score the histories by a table, row after row."""
    table = iter(np.array(scores, dtype=np.float32))
    return lambda histories: np.stack([next(table) for _ in histories])


def full_rank(scores: Sequence[float], target: int, history: Sequence[int] = (), *, exclude: bool = True) -> int:
    return int(full_ranks(scorer_of(scores), targets_of([target], [history]), exclude_history=exclude)[0])


@pytest.mark.parametrize(
    ("scores", "target", "history", "exclude", "rank"),
    [
        ([5, 4, 3, 2], 0, [], True, 1),
        ([5, 4, 3, 2], 3, [], True, 4),
        ([5, 4, 3, 2], 2, [0], True, 2),
        ([5, 4, 3, 2], 2, [0, 1], True, 1),
        ([5, 4, 3, 2], 2, [0, 1], False, 3),
        ([5, 4, 3, 2], 2, [3, 3], True, 3),
        ([5, 4, 3, 2], 2, [2, 0], True, 2),
        ([5, 4, 3, 2], 2, [2, 0], False, 3),
        ([3, 3, 3, 3], 0, [], True, 1),
        ([3, 3, 3, 3], 2, [], True, 3),
        ([3, 3, 3, 3], 2, [0], True, 2),
        ([1, 3, 3, 2], 2, [], True, 2),
        ([-INF, 3, -INF, 2], 2, [], True, 4),
        ([-INF, 3, -INF, 2], 0, [], True, 4),
        ([-INF, 3, -INF, 2], 3, [], True, 2),
        ([NAN, NAN, NAN, NAN], 0, [], True, 4),
        ([1, NAN, 3, 2], 0, [], True, 4),
        ([1, NAN, 3, 2], 1, [], True, 4),
        ([1, NAN, 3, 2], 2, [], True, 2),
    ],
)
def test_rank_among_all_items_by_hand(
    scores: list[float], target: int, history: list[int], exclude: bool, rank: int
) -> None:
    """Greater scores stand before, equal ones in the order of rows, the history out of the way unless it is the target.

    What cannot be scored is last, and what is no number never helps.
    """
    assert full_rank(scores, target, history, exclude=exclude) == rank


SCORES = st.lists(st.integers(-3, 3).map(float) | st.just(-INF), min_size=1, max_size=12)


@given(SCORES, st.data(), st.booleans())
def test_rank_is_the_place_in_a_sorted_list(scores: list[float], data: st.DataObject, exclude: bool) -> None:
    """A naive sort by score and row, without the history, finds the target at the same place."""
    items = st.integers(0, len(scores) - 1)
    target, history = data.draw(items), data.draw(st.lists(items, max_size=5))
    left = [row for row in range(len(scores)) if row == target or not exclude or row not in history]
    expected = sorted(left, key=lambda row: (-scores[row], row)).index(target) + 1
    rank = full_rank(scores, target, history, exclude=exclude)

    assert rank == (expected if scores[target] > -INF else len(scores))


@given(SCORES, st.data())
def test_sampled_rank_is_the_place_among_the_negatives(scores: list[float], data: st.DataObject) -> None:
    """Only the drawn items count, as often as they were drawn."""
    items = st.integers(0, len(scores) - 1)
    target = data.draw(items)
    negatives = data.draw(st.lists(items.filter(lambda row: row != target), max_size=6)) if len(scores) > 1 else []
    before = [row for row in negatives if (-scores[row], row) < (-scores[target], target)]
    ranks = sampled_ranks(
        scorer_of(scores), targets_of([target], [[]]), np.array([negatives], dtype=np.int64).reshape(1, -1)
    )

    assert ranks.tolist() == [1 + len(before if scores[target] > -INF else negatives)]


def test_ranks_do_not_depend_on_chunks() -> None:
    """More targets than a chunk are ranked as one by one."""
    random = np.random.default_rng(0)
    n = 2 * CHUNK + 3
    table = random.integers(0, 5, (n, 9)).astype(np.float32)
    targets = targets_of(random.integers(0, 9, n).tolist(), random.integers(0, 9, (n, 2)).tolist())
    negatives = random.integers(0, 9, (n, 4))
    full = full_ranks(scorer_of(*table), targets, exclude_history=True)
    sampled = sampled_ranks(scorer_of(*table), targets, negatives)

    for i in (0, CHUNK - 1, CHUNK, n - 1):
        one = targets_of([int(targets.rows[i])], [targets.histories[i].tolist()])
        assert full_ranks(scorer_of(table[i]), one, exclude_history=True)[0] == full[i]
        assert sampled_ranks(scorer_of(table[i]), one, negatives[i : i + 1])[0] == sampled[i]


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec"])
def test_sequence_model_ranks_by_inner_product(name: str) -> None:
    """A target's rank is by the session vector of the most recent items that the model reads."""
    torch.manual_seed(0)
    model = build_sequence_model(SequenceModelSpec.model_validate({"name": name, "dim": 8, "max_length": 3})).eval()
    embeddings = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    targets = targets_of([3, 19], [[1, 2, 5, 4, 7], [0]])
    scores = session_vectors(model, [embeddings[[5, 4, 7]], embeddings[[0]]]) @ embeddings.T

    ranks = rank_targets(model, embeddings, targets, exclude_history=False)

    assert ranks.tolist() == [1 + (row > row[t]).sum() for row, t in zip(scores, targets.rows, strict=True)]


@pytest.mark.parametrize(
    ("metric", "k", "values"),
    [
        (hit_rate, 1, [1, 0, 0, 0]),
        (hit_rate, 3, [1, 1, 1, 0]),
        (ndcg, 1, [1, 0, 0, 0]),
        (ndcg, 3, [1, 1 / np.log2(3), 0.5, 0]),
        (ndcg, 10, [1, 1 / np.log2(3), 0.5, 1 / np.log2(5)]),
    ],
)
def test_metrics_by_hand(metric: Callable[[NDArray[np.int64], int], Array], k: int, values: list[float]) -> None:
    """HR counts a rank up to k as 1; NDCG as 1 over the binary logarithm of the rank plus 1."""
    np.testing.assert_allclose(metric(np.array([1, 2, 3, 4]), k), values)


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


def test_negatives_are_uniform() -> None:
    """Every item left is drawn about as often as another; another seed draws others."""
    targets = targets_of([0] * 3000, [[]] * 3000)
    interacted: list[Rows] = [np.array([1], dtype=np.int64)] * 3000
    drawn = draw_negatives(targets, interacted, 12, 4, np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=12)

    assert counts[:2].tolist() == [0, 0]
    assert (abs(counts[2:] - 1200) < 120).all()
    assert not np.array_equal(drawn, draw_negatives(targets, interacted, 12, 4, np.random.default_rng(1)))


def test_too_few_items_are_drawn_more_than_once() -> None:
    """A user who met almost everything still gets the number of negatives."""
    drawn = draw_negatives(targets_of([0], [[]]), [np.array([1, 2])], 5, 10, np.random.default_rng(0))

    assert drawn.shape == (1, 10)
    assert set(drawn[0].tolist()) == {3, 4}


def test_user_who_met_every_item_is_named() -> None:
    """There is nothing to rank the target among."""
    with pytest.raises(DataError, match=r"^user 'u0' interacted with all items"):
        draw_negatives(targets_of([0], [[]]), [np.array([1, 2])], 3, 10, np.random.default_rng(0))
