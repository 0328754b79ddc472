"""`llmemb.first_clicks`: the residual that a new item gets by the sessions that took it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

from llmemb.first_clicks import CHUNK_SCORES, Array, Background, ClickPrior, Wide, fit_residual, log_partition

DIM, TERM, WARM = 6, 4, 30
WEIGHT, STRENGTH = 3.0, 0.7


def vectors(count: int, seed: int, width: int = DIM + TERM) -> Array:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


ITEMS = vectors(WARM, 0)
ITEM = vectors(1, 1)[0]
SESSIONS = vectors(50, 2)
BACKGROUND = Background(SESSIONS, log_partition(SESSIONS, ITEMS))
TAKEN = vectors(5, 3)


def fit(taken: Array, weight: float = WEIGHT, strength: float = STRENGTH, item: Array = ITEM) -> Array:
    return fit_residual(taken, log_partition(taken, ITEMS), BACKGROUND, item, DIM, weight=weight, strength=strength)


def formula(residual: Wide, taken: Array) -> float:
    """The function to minimise, as it is written, with `p = exp(s.(x + r)) / (Z + exp(s.(x + r)))`."""

    def probability(sessions: Array) -> Wide:
        wide = sessions.astype(np.float64)
        own = np.exp(wide @ ITEM + wide[:, :DIM] @ residual)
        return np.asarray(own / (np.exp(wide @ ITEMS.T).sum(axis=1) + own))

    likelihood = np.log(probability(taken)).sum() + WEIGHT * np.log(1 - probability(SESSIONS)).sum()
    return float(-likelihood + STRENGTH * residual @ residual / 2)


def test_residual_is_the_minimum_of_the_formula() -> None:
    """A general minimiser of the formula as it is written finds the same residual."""
    expected = minimize(formula, np.zeros(DIM), args=(TAKEN,), method="BFGS", options={"gtol": 1e-7}).x

    assert fit(TAKEN) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("coordinate", range(DIM))
def test_gradient_vanishes_at_the_residual(coordinate: int) -> None:
    """A step from it in either direction costs alike, and more."""
    residual, step = fit(TAKEN).astype(np.float64), 1e-3 * np.eye(DIM)[coordinate]
    here, up, down = (formula(residual + change, TAKEN) for change in (0 * step, step, -step))

    assert min(up, down) > here
    assert (up - down) / 2e-3 == pytest.approx(0.0, abs=1e-4)


def test_item_that_nobody_took_has_no_residual() -> None:
    """Without a click there is nothing to learn from, however large the background is."""
    assert fit(TAKEN[:0], weight=1e6).tolist() == [0.0] * DIM


def test_each_click_raises_the_score_for_sessions_like_it() -> None:
    """The same session again is a stronger reason; a session of the opposite kind gains nothing by it."""
    session = TAKEN[:1]
    gains = [float((session[:, :DIM] @ fit(np.repeat(session, k, axis=0)))[0]) for k in range(5)]

    assert gains == sorted(set(gains))
    assert gains[0] == 0.0


def test_background_holds_an_item_back() -> None:
    """The more sessions did not take it, the lower it stands for them."""
    means = [float((SESSIONS[:, :DIM] @ fit(TAKEN, weight=weight)).mean()) for weight in (0.0, 1.0, 10.0, 100.0)]

    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


def test_strong_prior_leaves_nothing() -> None:
    """The residual goes to zero as lambda grows, as one over it."""
    weak, strong = (fit(TAKEN, strength=strength) for strength in (1e6, 1e8))

    assert strong == pytest.approx(weak / 100, rel=1e-2, abs=1e-12)
    assert np.abs(weak).max() < 1e-3


def test_semantic_term_is_a_constant_of_the_score() -> None:
    """What stands behind the item embedding counts in the score, and is not learned: as if Z were divided by it."""
    narrow = Background(SESSIONS[:, :DIM], BACKGROUND.log_partition - SESSIONS[:, DIM:] @ ITEM[DIM:])
    partition = log_partition(TAKEN, ITEMS) - TAKEN[:, DIM:] @ ITEM[DIM:]
    expected = fit_residual(TAKEN[:, :DIM], partition, narrow, ITEM[:DIM], DIM, weight=WEIGHT, strength=STRENGTH)

    assert fit(TAKEN) == pytest.approx(expected, abs=1e-5)


def test_fit_is_repeatable_and_changes_nothing() -> None:
    """The same inputs give the same bits, and are left as they were."""
    taken = TAKEN.copy()
    first, second = fit(taken), fit(taken)

    assert first.tobytes() == second.tobytes()
    assert (first.dtype, first.shape) == (np.dtype(np.float32), (DIM,))
    assert np.array_equal(taken, TAKEN)


def test_step_that_overshoots_is_halved() -> None:
    """Where no session has a chance yet, the first Newton step goes far beyond the minimum; the fit still finds it."""
    taken = 8 * TAKEN
    item = ITEM - 4 * taken.mean(axis=0) / np.linalg.norm(taken.mean(axis=0))
    residual = fit(taken, strength=0.01, item=item).astype(np.float64)
    partition = log_partition(taken, ITEMS)

    def gradient(residual: Wide) -> Wide:
        pulls = []
        for sessions, logs, label in ((taken, partition, 1.0), (SESSIONS, BACKGROUND.log_partition, 0.0)):
            logits = sessions @ item + sessions[:, :DIM] @ residual - logs
            pulls.append((1 / (1 + np.exp(-logits)) - label) * (1.0 if label else WEIGHT) @ sessions[:, :DIM])
        return np.asarray(sum(pulls) + 0.01 * residual)

    assert np.abs(gradient(np.zeros(DIM))).max() > 10
    assert gradient(residual) == pytest.approx(np.zeros(DIM), abs=1e-4)


@given(st.floats(1e-3, 1e30), st.floats(1e-3, 1e30), st.floats(0.0, 1e12), st.floats(1e-6, 1e12), st.integers(1, 3))
def test_residual_of_finite_inputs_is_finite(
    of_sessions: float, of_items: float, weight: float, strength: float, k: int
) -> None:
    """Whatever the scale of sessions and items and the weights are."""
    sessions, taken = (of_sessions * SESSIONS).astype(np.float32), (of_sessions * TAKEN[:k]).astype(np.float32)
    small = np.float32(min(of_items, 1e30 / of_sessions))
    background = Background(sessions, log_partition(sessions, small * ITEMS))
    partition = log_partition(taken, small * ITEMS)
    residual = fit_residual(taken, partition, background, small * ITEM, DIM, weight=weight, strength=strength)

    assert np.isfinite(residual).all()


def test_partition_is_the_logarithm_of_the_sum() -> None:
    """In as many pieces as the memory allows, and for scores whose exponential no number holds."""
    sessions, items = 100 * vectors(2100, 5), vectors(2000, 6)
    assert len(sessions) * len(items) > CHUNK_SCORES
    expected = logsumexp((sessions @ items.T).astype(np.float64), axis=1)

    assert log_partition(sessions, items) == pytest.approx(expected, rel=1e-6)
    assert expected.max() > 1000


def test_background_weighs_by_exposures_and_clicks() -> None:
    """All sessions together count as the exposures do: half of them when the clicks are as many as the patience."""
    prior = ClickPrior(strength=1.0, exposure=2.0, patience=4.0)

    assert [prior.background_weight(k, 600.0, 1200) for k in (0, 1, 4, 12)] == [0.0, 0.2, 0.5, 0.75]
    assert ClickPrior(1.0, 2.0, 0.0).background_weight(1, 600.0, 1200) == 1.0
