"""Bootstrap confidence intervals and a paired randomisation test, both over users.

The targets of a user are resampled together, since they are not independent. `n` targets, `u` users, `M` columns of
values, `B` draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
CHUNK_WEIGHTS = 2**22
"""Maximum number of user weights in memory, for any `u` and `B`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of targets, summed for each user.

    Args:
        sums: `(u, M)`.
        counts: number of targets of each user, `(u,)`.
    """

    sums: Values
    counts: Values

    @property
    def means(self) -> Values:
        """Mean over the targets, `(M,)`."""
        means: Values = self.sums.sum(axis=0) / self.counts.sum()
        return means


def by_user(values: Values, users: NDArray[np.int64]) -> Sample:
    """Sum the values `(n, M)` of each user; `users` `(n,)` are arbitrary user numbers."""
    _, lines = np.unique(users, return_inverse=True)
    counts = np.bincount(lines).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, lines, values)
    return Sample(sums, counts)


def bootstrap_means(sample: Sample, draws: int, generator: np.random.Generator) -> Values:
    """Return the mean over the targets of `B` bootstrap samples of the users, `(B, M)`.

    All columns share the samples, so differences between columns are paired.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 13.
    """
    num_users = len(sample.counts)

    def weights(count: int) -> NDArray[np.float32]:
        drawn = generator.integers(num_users, size=(count, num_users)) + np.arange(count)[:, None] * num_users
        times = np.bincount(drawn.ravel(), minlength=count * num_users)
        return times.reshape(count, num_users).astype(np.float32)

    columns = np.column_stack([sample.sums, sample.counts])
    sums = _weighted_sums(columns, draws, weights)
    return sums[:, :-1] / sums[:, -1:]


def percentile_interval(means: Values, confidence: float) -> tuple[Values, Values]:
    """Return the lower and upper percentile bounds of the bootstrap means `(B, M)`, each `(M,)`."""
    low, high = np.quantile(means, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def paired_p_values(differences: Sample, draws: int, generator: np.random.Generator) -> Values:
    """Return the two-sided p-value of each column's mean difference, `(M,)`, by a paired randomisation test.

    Under the null hypothesis the sign of each user's difference is random. The p-value is the share of random sign
    assignments whose mean is at least as far from 0 as the observed one. The observed signs count as one assignment,
    so p is at least `1 / (B + 1)`.

    Source: Smucker, Allan and Carterette 2007, "A comparison of statistical significance tests for information
    retrieval evaluation", section 3.1.
    """
    num_users = len(differences.counts)

    def signs(count: int) -> NDArray[np.float32]:
        return generator.integers(2, size=(count, num_users), dtype=np.int8).astype(np.float32) * 2 - 1

    observed = np.abs(differences.sums.sum(axis=0))
    drawn = np.abs(_weighted_sums(differences.sums, draws, signs))
    # Sums that differ only by rounding count as equal.
    slack = 1e-5 * np.maximum(np.abs(differences.sums).sum(axis=0), 1e-12)
    p_values: Values = (1 + np.count_nonzero(drawn >= observed - slack, axis=0)) / (draws + 1)
    return p_values


def _weighted_sums(columns: Values, draws: int, weights: Callable[[int], NDArray[np.float32]]) -> Values:
    """Return `weights (B, u) @ columns (u, M)`; the weights are drawn in chunks."""
    narrow = columns.astype(np.float32)
    return np.concatenate([weights(count) @ narrow for count in _chunks(draws, len(columns))]).astype(np.float64)


def _chunks(draws: int, num_users: int) -> Iterator[int]:
    size = max(1, CHUNK_WEIGHTS // num_users)
    for start in range(0, draws, size):
        yield min(size, draws - start)
