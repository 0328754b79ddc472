"""`evaluation.ranking`: ranks against hand-worked tables and a naive sort, and the metrics made of them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmemb.scoring.item_space import join
from llmemb.scoring.projection import fit_reduction, fold
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import session_vectors
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.data.dataset import Targets
from llmemb_training.evaluation import ranking
from llmemb_training.evaluation.ranking import (
    CHUNK,
    Array,
    Ranking,
    Scorer,
    embedding_scorer,
    full_ranks,
    hit_rate,
    ndcg,
    rank_all_ways,
    rank_targets,
    reciprocal_rank,
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
    targets = targets_of([target], [history])
    rank = int(full_ranks(scorer_of(scores), targets, len(scores), exclude_history=exclude)[0])
    assert both_ways([scores], targets, [[]], exclude=exclude).full.tolist() == [rank]
    return rank


def both_ways(
    scores: Sequence[Sequence[float]],
    targets: Targets,
    negatives: Sequence[Sequence[int]],
    *,
    exclude: bool = True,
    best: int = 3,
) -> Ranking:
    drawn = np.array(negatives, dtype=np.int64).reshape(len(targets.rows), -1)
    return rank_all_ways(scorer_of(*scores), targets, drawn, len(scores[0]), exclude_history=exclude, best=best)


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
    ranks = both_ways([scores], targets_of([target], [[]]), [negatives])

    assert ranks.sampled.tolist() == [1 + len(before if scores[target] > -INF else negatives)]


@given(SCORES, st.data(), st.booleans(), st.integers(1, 5))
def test_best_items_are_the_head_of_a_sorted_list(
    scores: list[float], data: st.DataObject, exclude: bool, best: int
) -> None:
    """The best by score and row, without the history and what cannot be ranked; NaN is never recommended."""
    items = st.integers(0, len(scores) - 1)
    history = data.draw(st.lists(items, max_size=5))
    table = [NAN if data.draw(st.booleans()) else score for score in scores]
    left = [row for row, score in enumerate(table) if score > -INF and not (exclude and row in history)]
    expected = sorted(left, key=lambda row: (-table[row], row))[:best]
    found = both_ways([table], targets_of([data.draw(items)], [history]), [[]], exclude=exclude, best=best)
    kept = min(best, len(scores))

    assert found.best_rows.tolist() == [expected + [-1] * (kept - len(expected))]
    assert found.best_scores.tolist() == [[table[row] for row in expected] + [-INF] * (kept - len(expected))]


@pytest.mark.parametrize("scores_at_once", [None, 9 * 50, 1])
def test_ranks_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, scores_at_once: int | None) -> None:
    """More targets than a chunk are ranked as one by one, however few scores are held at a time."""
    random = np.random.default_rng(0)
    n = 2 * CHUNK + 3
    table = random.integers(0, 5, (n, 9)).astype(np.float32)
    targets = targets_of(random.integers(0, 9, n).tolist(), random.integers(0, 9, (n, 2)).tolist())
    negatives = (targets.rows[:, None] + random.integers(1, 9, (n, 4))) % 9
    sizes = []

    def score(histories: Sequence[object]) -> Array:
        sizes.append(len(histories))
        return table[sum(sizes[:-1]) : sum(sizes)].copy()

    if scores_at_once is not None:
        monkeypatch.setattr(ranking, "CHUNK_SCORES", scores_at_once)
    found = rank_all_ways(score, targets, negatives, 9, exclude_history=True, best=3)

    assert max(sizes) == {None: CHUNK, 9 * 50: 50, 1: 1}[scores_at_once]
    for i in (0, 49, 50, CHUNK - 1, CHUNK, n - 1):
        one = targets_of([int(targets.rows[i])], [targets.histories[i].tolist()])
        alone = both_ways(table[i : i + 1].tolist(), one, negatives[i : i + 1].tolist())
        assert (alone.full[0], alone.sampled[0]) == (found.full[i], found.sampled[i])
        assert alone.best_rows[0].tolist() == found.best_rows[i].tolist()


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
        (lambda ranks, _: reciprocal_rank(ranks), 0, [1, 1 / 2, 1 / 3, 1 / 4]),
    ],
)
def test_metrics_by_hand(metric: Callable[[NDArray[np.int64], int], Array], k: int, values: list[float]) -> None:
    """HR counts a rank up to k as 1; NDCG as 1 over the binary logarithm of the rank plus 1; MRR as 1 over it."""
    np.testing.assert_allclose(metric(np.array([1, 2, 3, 4]), k), values)


def test_semantic_term_adds_to_the_score() -> None:
    """Item vectors hold both parts; the history's profile may be longer than what the sequence model reads."""
    torch.manual_seed(0)
    model = build_sequence_model(SequenceModelSpec(dim=8, max_length=2)).eval()
    random = np.random.default_rng(0)
    embeddings, raw = (random.normal(size=(20, width)).astype(np.float32) for width in (8, 5))
    term = SemanticTerm(fold(fit_reduction(raw, 4, "whiten"), []), gamma=0.5, history=3)
    history = np.array([5, 1, 9, 4])
    plain = embedding_scorer(model, embeddings)([history])
    profile = term.apply(raw)

    scores = embedding_scorer(model, join(embeddings, profile), term)([history])

    np.testing.assert_allclose(scores - plain, [0.5 * (profile @ profile[history[-3:]].T).mean(axis=1)], atol=1e-5)
