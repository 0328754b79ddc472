"""`training.baselines`: scores by hand."""

import numpy as np

from training.baselines import popular_scorer, semantic_knn_scorer, warm_only

HISTORIES = [np.array([0, 1]), np.array([2])]


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
        semantic_knn_scorer(reduced, 2)(HISTORIES),
        [[0.5, 0.5, half, 0], [half, half, 1, 0]],
        atol=1e-6,
    )
    np.testing.assert_allclose(semantic_knn_scorer(reduced, 1)(HISTORIES)[0], [0, 1, half, 0], atol=1e-6)


def test_warm_only_cannot_score_the_others() -> None:
    """Items past the model's own get the worst score there is."""
    scores = warm_only(popular_scorer(np.array([3, 0, 7])), 5)(HISTORIES)

    assert scores.tolist() == [[3, 0, 7, -np.inf, -np.inf]] * 2
