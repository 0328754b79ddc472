"""`llmemb_training.rat.successors`: what follows what, by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.rat.successors import SuccessorForm, fit_text_map, follower_counts, successor_vectors

HISTORIES = [np.array(rows) for rows in ([0, 1, 2, 1], [1, 2], [3], [0, 0, 2])]
ITEMS = 5
"""Items 3 and 4 have no followers."""


def form(**changed: object) -> SuccessorForm:
    values = {"estimator": "mean", "window": 2, "decay": 0.5, "out_power": 1.0, "in_power": 0.0, "ridge": 1.0}
    return SuccessorForm.model_validate(values | changed)


def profile(items: int = ITEMS, width: int = 3, seed: int = 0) -> np.ndarray:
    """Random vectors of unit length."""
    vectors = np.random.default_rng(seed).normal(size=(items, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_counts_by_hand() -> None:
    """A step further counts half; what follows itself does not count."""
    counts = follower_counts(HISTORIES, ITEMS, 2, 0.5).toarray()

    expected = np.zeros((ITEMS, ITEMS))
    expected[0, 1], expected[0, 2] = 1, 0.5 + 1 + 0.5
    expected[1, 2] = 1 + 1
    expected[2, 1] = 1
    np.testing.assert_allclose(counts, expected)


@given(
    histories=st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=7), max_size=6),
    window=st.integers(1, 4),
    decay=st.floats(0.1, 1),
)
def test_counts_are_those_of_two_loops(histories: list[list[int]], window: int, decay: float) -> None:
    """Histories of none, one and many items, and windows longer than they are."""
    expected = np.zeros((ITEMS, ITEMS))
    for rows in histories:
        for place, row in enumerate(rows):
            for step, follower in enumerate(rows[place + 1 : place + 1 + window]):
                expected[row, follower] += decay**step
    np.fill_diagonal(expected, 0)

    counts = follower_counts([np.array(rows, dtype=np.int64) for rows in histories], ITEMS, window, decay).toarray()

    np.testing.assert_allclose(counts, expected, rtol=1e-5)


def test_mean_is_the_weighted_mean_of_the_followers() -> None:
    """With powers 1 and 0, up to the one factor by which all are scaled; an item without followers has nothing."""
    vectors = profile()
    counts = follower_counts(HISTORIES, ITEMS, 2, 0.5)

    made = successor_vectors(form(), counts, vectors)

    means = np.zeros_like(vectors)
    means[0] = (vectors[1] + 2 * vectors[2]) / 3
    means[1], means[2] = vectors[2], vectors[1]
    np.testing.assert_allclose(made, means / np.sqrt((means[:3] ** 2).sum(axis=1).mean()), rtol=1e-5)
    assert not made[3:].any()
    assert (made[:3] ** 2).sum(axis=1).mean() == pytest.approx(1)


@pytest.mark.parametrize(("out_power", "in_power"), [(0.5, 0.5), (1.0, 0.25), (0.0, 0.0)])
def test_powers_divide_by_both_counts(out_power: float, in_power: float) -> None:
    """Each count over its row's and its column's sum, to their powers."""
    vectors = profile()
    counts = follower_counts(HISTORIES, ITEMS, 2, 0.5)
    dense = counts.toarray().astype(np.float64)
    divisor = (
        np.maximum(dense.sum(axis=1), 1e-9)[:, None] ** out_power * np.maximum(dense.sum(axis=0), 1e-9) ** in_power
    )
    expected = (dense / divisor) @ vectors

    made = successor_vectors(form(out_power=out_power, in_power=in_power), counts, vectors)

    np.testing.assert_allclose(made, expected / np.sqrt((expected[:3] ** 2).sum(axis=1).mean()), rtol=1e-4, atol=1e-6)


def test_ridge_comes_nearest_to_the_counts() -> None:
    """Its inner products with the profile vectors are the least squares fit of the item's row, with the penalty."""
    vectors = profile()
    counts = follower_counts(HISTORIES, ITEMS, 2, 0.5)
    rows = counts.toarray() / np.maximum(counts.sum(axis=1), 1e-9)[:, None]
    padded = np.concatenate([vectors, np.sqrt(0.3) * np.eye(3)])
    expected = np.linalg.lstsq(padded, np.concatenate([rows.T, np.zeros((3, ITEMS))]), rcond=None)[0].T

    made = successor_vectors(form(estimator="ridge", ridge=0.3), counts, vectors)

    np.testing.assert_allclose(made, expected / np.sqrt((expected[:3] ** 2).sum(axis=1).mean()), rtol=1e-4, atol=1e-6)


def test_nothing_follows_anything() -> None:
    """Histories of one item each: all vectors are zero, and nothing is divided by nothing."""
    counts = follower_counts([np.array([0]), np.array([1])], ITEMS, 3, 0.7)

    for estimator in ("mean", "ridge"):
        assert not successor_vectors(form(estimator=estimator), counts, profile()).any()


def test_text_map_finds_a_linear_rule() -> None:
    """Where successor vectors are a linear function of the texts, the map is that function, up to the penalty."""
    random = np.random.default_rng(1)
    vectors, rule = profile(200, 4), random.normal(size=(4, 4)).astype(np.float32)
    counts = follower_counts([random.permutation(200)], 200, 1, 1.0)
    successors = vectors @ rule
    # The last item of the only history has no followers: it takes no part, whatever stands there.
    nothing = np.flatnonzero(counts.sum(axis=1) == 0)
    successors[nothing] = 100

    found = fit_text_map(vectors, successors, counts, ridge=1e-6)

    assert len(nothing) == 1
    np.testing.assert_allclose(found, rule, atol=1e-3)
