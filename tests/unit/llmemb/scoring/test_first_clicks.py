"""`llmemb.scoring.first_clicks`: the residual that a new item gets by the sessions that took it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

from llmemb.scoring.first_clicks import CHUNK_SCORES, Array, Background, ClickPrior, Wide, fit_residual, log_partition

DIM, TERM, WARM, BACKGROUND_SESSIONS = 6, 4, 30, 50
WEIGHT, STRENGTH = 3.0, 0.7
EXPOSURES = WEIGHT * BACKGROUND_SESSIONS


def vectors(count: int, seed: int, width: int = DIM + TERM) -> Array:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


ITEMS = vectors(WARM, 0)
ITEM = vectors(1, 1)[0]
SESSIONS = vectors(BACKGROUND_SESSIONS, 2)
BACKGROUND = Background(SESSIONS, log_partition(SESSIONS, ITEMS))
TAKEN = vectors(5, 3)


def fit(
    taken: Array, exposures: float = EXPOSURES, strength: float = STRENGTH, own_clicks: float = 0.0, item: Array = ITEM
) -> Array:
    partition, prior = log_partition(taken, ITEMS), ClickPrior(strength, own_clicks)
    return fit_residual(taken, partition, BACKGROUND, item, DIM, exposures=exposures, prior=prior)


def probability(sessions: Array, residual: Wide) -> Wide:
    """`p = exp(s.(x + r)) / (Z + exp(s.(x + r)))`, as it is written."""
    wide = sessions.astype(np.float64)
    own = np.exp(wide @ ITEM + wide[:, :DIM] @ residual)
    return np.asarray(own / (np.exp(wide @ ITEMS.T).sum(axis=1) + own))


def formula(residual: Wide, taken: Array, own_clicks: float = 0.0) -> float:
    """The function to minimise, as it is written."""
    p, first = probability(SESSIONS, residual), probability(SESSIONS, np.zeros(DIM))
    likelihood = np.log(probability(taken, residual)).sum()
    likelihood += WEIGHT * len(taken) / (len(taken) + own_clicks) * np.log(1 - p).sum()
    likelihood += own_clicks / first.sum() * (first * np.log(p) + (1 - first) * np.log(1 - p)).sum()
    return float(-likelihood + STRENGTH * residual @ residual / 2)


@pytest.mark.parametrize("own_clicks", [0.0, 2.5])
def test_residual_is_the_minimum_of_the_formula(own_clicks: float) -> None:
    """A general minimiser of the formula as it is written finds the same residual."""
    start, options = np.zeros(DIM), {"gtol": 1e-7}
    expected = minimize(formula, start, args=(TAKEN, own_clicks), method="BFGS", options=options).x

    assert fit(TAKEN, own_clicks=own_clicks) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("coordinate", range(DIM))
def test_gradient_vanishes_at_the_residual(coordinate: int) -> None:
    """A step from it in either direction costs alike, and more."""
    residual, step = fit(TAKEN).astype(np.float64), 1e-3 * np.eye(DIM)[coordinate]
    here, up, down = (formula(residual + change, TAKEN) for change in (0 * step, step, -step))

    assert min(up, down) > here
    assert (up - down) / 2e-3 == pytest.approx(0.0, abs=1e-4)


def test_item_without_clicks_has_no_residual() -> None:
    """Without a click there is nothing to learn from, however large the background is."""
    assert fit(TAKEN[:0], exposures=1e6).tolist() == [0.0] * DIM


def test_each_click_raises_the_score_for_sessions_like_it() -> None:
    """The same session again is a stronger reason; a session of the opposite kind gains nothing by it."""
    session = TAKEN[:1]
    gains = [float((session[:, :DIM] @ fit(np.repeat(session, k, axis=0)))[0]) for k in range(5)]

    assert gains == sorted(set(gains))
    assert gains[0] == 0.0


def test_background_holds_an_item_back() -> None:
    """The more sessions did not take it, the lower it stands for them."""
    means = [
        float((SESSIONS[:, :DIM] @ fit(TAKEN, exposures=exposures)).mean()) for exposures in (0.0, 50.0, 500.0, 5000.0)
    ]

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
    expected = fit_residual(
        TAKEN[:, :DIM], partition, narrow, ITEM[:DIM], DIM, exposures=EXPOSURES, prior=ClickPrior(STRENGTH)
    )

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


@given(
    st.floats(1e-3, 1e30),
    st.floats(1e-3, 1e30),
    st.floats(0.0, 1e12),
    st.floats(1e-6, 1e12),
    st.floats(0.0, 1e3),
    st.integers(1, 3),
)
def test_residual_of_finite_inputs_is_finite(
    of_sessions: float, of_items: float, exposures: float, strength: float, own_clicks: float, k: int
) -> None:
    """Whatever the scale of sessions and items and the weights are."""
    sessions, taken = (of_sessions * SESSIONS).astype(np.float32), (of_sessions * TAKEN[:k]).astype(np.float32)
    small = np.float32(min(of_items, 1e30 / of_sessions))
    background = Background(sessions, log_partition(sessions, small * ITEMS))
    partition, prior = log_partition(taken, small * ITEMS), ClickPrior(strength, own_clicks)
    residual = fit_residual(taken, partition, background, small * ITEM, DIM, exposures=exposures, prior=prior)

    assert np.isfinite(residual).all()


def test_partition_is_the_logarithm_of_the_sum() -> None:
    """In as many pieces as the memory allows, and for scores whose exponential no number holds."""
    sessions, items = 100 * vectors(2100, 5), vectors(2000, 6)
    assert len(sessions) * len(items) > CHUNK_SCORES
    expected = logsumexp((sessions @ items.T).astype(np.float64), axis=1)

    assert log_partition(sessions, items) == pytest.approx(expected, rel=1e-6)
    assert expected.max() > 1000


def test_estimate_of_the_model_is_worth_its_clicks() -> None:
    """Where all sessions are alike, an item that got one click has 1 + a of them in the exposures that those take."""
    taken = SESSIONS[:1]
    partition = log_partition(taken, ITEMS)
    same = Background(np.repeat(taken, 50, axis=0), np.repeat(partition, 50))
    first = float(probability(taken, np.zeros(DIM))[0])
    for exposures, own_clicks in ((0.0, 1.0), (0.0, 4.0), (700.0, 2.0)):
        prior = ClickPrior(1e-9, own_clicks)
        residual = fit_residual(taken, partition, same, ITEM, DIM, exposures=exposures, prior=prior)
        expected = (1 + own_clicks) / (1 + exposures / (1 + own_clicks) + own_clicks / first)

        assert probability(taken, residual.astype(np.float64))[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("exposures", [0.0, 1e5])
def test_first_click_neither_lifts_an_item_above_all_nor_sinks_it(exposures: float) -> None:
    """At once, or after many exposures without: the more the model's estimate is worth, the less the scores move."""
    moves = [
        float(np.abs(SESSIONS[:, :DIM] @ fit(TAKEN[:1], exposures, 0.01, own_clicks)).max())
        for own_clicks in (0.0, 10.0, 1e3, 1e6)
    ]

    assert moves == sorted(moves, reverse=True)
    assert moves[-1] < 0.5 < moves[0]
