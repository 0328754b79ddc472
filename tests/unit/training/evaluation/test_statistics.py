"""`statistics`: intervals and p-values against SciPy's, and against what is known of small samples."""

import numpy as np
import pytest
import scipy
from sklearn.utils import resample

from llmemb_training.evaluation import statistics
from llmemb_training.evaluation.statistics import (
    Sample,
    Values,
    bootstrap_means,
    by_user,
    paired_p_values,
    percentile_interval,
)

DRAWS = 4000


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def one_each(values: Values) -> Sample:
    """Every user has one target."""
    return by_user(values, np.arange(len(values)))


def test_targets_of_a_user_are_added_up() -> None:
    """Users may be any numbers in any order; the mean is over the targets, not over the users."""
    sample = by_user(np.array([[1.0, 0.0], [2.0, 5.0], [3.0, 0.0]]), np.array([9, 4, 9]))

    assert sample.sums.tolist() == [[2.0, 5.0], [4.0, 0.0]]
    assert sample.counts.tolist() == [1, 2]
    np.testing.assert_allclose(sample.means, [2.0, 5 / 3])


def test_interval_is_that_of_scipy() -> None:
    """The percentile bootstrap of the mean, a column at a time."""
    values = generator(1).exponential(size=(200, 3))
    low, high = percentile_interval(bootstrap_means(one_each(values), DRAWS, generator()), 0.9)
    outside = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=DRAWS, confidence_level=0.9, method="percentile", rng=generator()
    ).confidence_interval

    np.testing.assert_allclose(low, outside.low, atol=0.01)
    np.testing.assert_allclose(high, outside.high, atol=0.01)


def test_interval_is_wider_where_the_targets_of_a_user_are_alike() -> None:
    """Four equal targets of a user say no more than one: users are drawn, with all that is theirs."""
    values = generator(1).normal(size=(100, 1))
    alike = by_user(values.repeat(4, axis=0), np.arange(100).repeat(4))
    low, high = percentile_interval(bootstrap_means(one_each(values), DRAWS, generator()), 0.95)
    same = percentile_interval(bootstrap_means(alike, DRAWS, generator()), 0.95)

    np.testing.assert_allclose(same, (low, high), atol=1e-6)


def test_users_of_different_size_are_drawn_whole() -> None:
    """The spread is that of drawing users by hand."""
    users = np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 5])
    values = generator(2).normal(size=(10, 1))
    sample = by_user(values, users)
    lines = np.column_stack([sample.sums, sample.counts])
    by_hand = [resample(lines, random_state=draw).sum(axis=0) for draw in range(DRAWS)]
    expected = [sums / count for sums, count in by_hand]
    drawn = bootstrap_means(sample, DRAWS, generator())[:, 0]

    assert drawn.mean() == pytest.approx(np.mean(expected), abs=0.02)
    assert drawn.std() == pytest.approx(np.std(expected), rel=0.05)


def test_columns_share_the_draws() -> None:
    """The difference of a column and itself has no spread."""
    values = generator(1).normal(size=(50, 1))
    drawn = bootstrap_means(one_each(np.column_stack([values, values + 1])), 100, generator())

    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 1.0, atol=1e-5)


def test_values_without_spread_have_an_interval_without_width() -> None:
    """All users alike leave nothing to doubt."""
    low, high = percentile_interval(bootstrap_means(one_each(np.full((9, 1), 0.25)), 100, generator()), 0.95)

    assert (low[0], high[0]) == (0.25, 0.25)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_p_value_is_that_of_scipy(shift: float) -> None:
    """The paired permutation test of SciPy finds the same, with differences of 0 and ties among them."""
    random = generator(3)
    ours = (random.random((120, 2)) < 0.4 + shift).astype(np.float64)
    theirs = (random.random((120, 2)) < 0.4).astype(np.float64)

    def difference(x: Values, y: Values, axis: int) -> Values:
        mean: Values = (x - y).mean(axis=axis)
        return mean

    outside = scipy.stats.permutation_test(
        (ours, theirs), difference, permutation_type="samples", n_resamples=DRAWS, vectorized=True, rng=generator()
    )
    p_values = paired_p_values(one_each(ours - theirs), DRAWS, generator())

    np.testing.assert_allclose(p_values, outside.pvalue, atol=0.03)


def test_p_values_of_known_samples() -> None:
    """No difference gives 1; three users of one sign give 2 of 8; many users give the least that the draws allow."""
    three = one_each(np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    many = one_each(np.ones((60, 1)))

    np.testing.assert_allclose(paired_p_values(three, DRAWS, generator()), [1.0, 0.25], atol=0.02)
    assert paired_p_values(many, 999, generator()).tolist() == [0.001]


def test_p_values_are_uniform_where_the_models_are_alike() -> None:
    """At the level of 10 %, about 10 % of the columns without a difference are found to differ."""
    p_values = paired_p_values(one_each(generator(5).normal(size=(80, 1000))), 500, generator())

    assert np.mean(p_values <= 0.1) == pytest.approx(0.1, abs=0.03)


def test_seed_decides_and_chunks_do_not_show_in_the_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same generator gives the same draws; the chunk size changes them by rounding only."""
    sample = one_each(generator(1).normal(size=(70, 2)))
    first = bootstrap_means(sample, 1001, generator())
    assert np.array_equal(first, bootstrap_means(sample, 1001, generator()))

    monkeypatch.setattr(statistics, "CHUNK_WEIGHTS", 100)
    second = bootstrap_means(sample, 1001, generator())

    assert second.shape == (1001, 2)
    np.testing.assert_allclose(second, first, atol=1e-6)
    assert paired_p_values(sample, 99, generator()).shape == (2,)
