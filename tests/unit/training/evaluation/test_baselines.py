"""`llmemb_training.evaluation.baselines`: scores by hand, and against plain formulas."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

from llmemb_training.data.dataset import Rows
from llmemb_training.evaluation import baselines
from llmemb_training.evaluation.baselines import (
    collaborative_scorer,
    ease_scorer,
    item_knn_scorer,
    other_vanilla,
    popular_scorer,
    semantic_knn_scorer,
    warm_only,
)

HISTORIES = [np.array([0, 1]), np.array([2])]
NUM_ITEMS = 7


def training_histories() -> list[Rows]:
    """30 users of 1 to 5 items, some more than once; no user chose the last item."""
    random = np.random.default_rng(0)
    return [random.integers(0, NUM_ITEMS - 1, random.integers(1, 6)) for _ in range(30)]


def matrix(histories: list[Rows]) -> NDArray[np.float64]:
    """Users by items: 1 where the user chose the item."""
    out = np.zeros((len(histories), NUM_ITEMS))
    for line, rows in zip(out, histories, strict=True):
        line[rows] = 1.0
    return out


def test_popular_scores_are_the_counts_whatever_the_history() -> None:
    """Every history gets the same scores, in arrays of its own."""
    scores = popular_scorer(np.array([3, 0, 7]))(HISTORIES)
    scores[0, 0] = -1

    assert scores.tolist() == [[-1, 0, 7], [3, 0, 7]]
    assert scores.dtype == np.float32


def test_semantic_scores_are_the_mean_cosine_to_the_most_recent() -> None:
    """Lengths have no part, an item of no length scores 0, and older items are not asked."""
    reduced = np.array([[2, 0], [0, 5], [3, 3], [0, 0]], dtype=np.float32)
    half = np.sqrt(0.5)

    np.testing.assert_allclose(
        semantic_knn_scorer(reduced, 2, 1.0)(HISTORIES),
        [[0.5, 0.5, half, 0], [half, half, 1, 0]],
        atol=1e-6,
    )
    np.testing.assert_allclose(semantic_knn_scorer(reduced, 1, 1.0)(HISTORIES)[0], [0, 1, half, 0], atol=1e-6)


@pytest.mark.parametrize("regularisation", [0.5, 200.0])
def test_ease_is_ridge_regression_of_each_item_on_the_others(regularisation: float) -> None:
    """The closed form with its zero diagonal is what the normal equations of each item without itself give."""
    train = training_histories()
    x = matrix(train)
    weights = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for item in range(NUM_ITEMS):
        others = np.delete(np.arange(NUM_ITEMS), item)
        gram = x[:, others].T @ x[:, others] + regularisation * np.eye(NUM_ITEMS - 1)
        weights[others, item] = np.linalg.solve(gram, x[:, others].T @ x[:, item])
    histories = [np.array([0, 3, 3]), np.array([5])]

    scores = ease_scorer(train, NUM_ITEMS, regularisation)(histories)

    np.testing.assert_allclose(scores, matrix(histories) @ weights, rtol=1e-3, atol=1e-6)
    assert scores.dtype == np.float32


def test_item_knn_sums_the_cosines_to_the_history() -> None:
    """Items are compared by the users who chose them, and no item speaks for itself."""
    train = training_histories()
    similarity = cosine_similarity(matrix(train).T)
    np.fill_diagonal(similarity, 0.0)
    histories = [np.array([0, 3, 3]), np.array([5]), np.array([6])]

    scores = item_knn_scorer(train, NUM_ITEMS)(histories)

    np.testing.assert_allclose(scores, matrix(histories) @ similarity, atol=1e-6)
    assert scores.dtype == np.float32


def test_catalogue_decides_between_ease_and_item_knn(monkeypatch: pytest.MonkeyPatch) -> None:
    """EASE up to the size that its dense matrix allows, ItemKNN past it; each is called what it is."""
    train = training_histories()
    name, ease = collaborative_scorer(train, NUM_ITEMS, 1.0)
    monkeypatch.setattr(baselines, "EASE_ITEMS", NUM_ITEMS - 1)
    other_name, item_knn = collaborative_scorer(train, NUM_ITEMS, 1.0)

    assert (name, other_name) == ("ease", "item_knn")
    np.testing.assert_array_equal(ease(HISTORIES), ease_scorer(train, NUM_ITEMS, 1.0)(HISTORIES))
    np.testing.assert_array_equal(item_knn(HISTORIES), item_knn_scorer(train, NUM_ITEMS)(HISTORIES))


@pytest.mark.parametrize(
    ("loss", "name"),
    [("softmax", "vanilla_bce"), ("bce", "vanilla_softmax"), ("gbce", "vanilla_bce")],
)
def test_other_vanilla_has_the_other_loss(loss: str, name: str) -> None:
    """Both losses are in one run, whichever of them the configuration chose."""
    assert other_vanilla(loss) == (name, name.removeprefix("vanilla_"))


def test_warm_only_cannot_score_the_others() -> None:
    """Items past the model's own get the worst score there is."""
    scores = warm_only(popular_scorer(np.array([3, 0, 7])), 5)(HISTORIES)

    assert scores.tolist() == [[3, 0, 7, -np.inf, -np.inf]] * 2
