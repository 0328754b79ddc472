"""Whether vectors that are not exact are near enough: their cosines to the exact ones, and who their neighbours are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
LEAST_COSINE = 0.99
LEAST_OVERLAP = 0.95
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """How vectors agree with the exact ones of the same items.

    Args:
        least_cosine: of a vector to its exact one.
        mean_cosine: over the vectors.
        overlap: share of the exact ten nearest that are among the ten nearest, mean over the vectors.
    """

    least_cosine: float
    mean_cosine: float
    overlap: float

    @property
    def admitted(self) -> bool:
        """Whether the vectors can stand for the exact ones."""
        return self.least_cosine >= LEAST_COSINE and self.overlap >= LEAST_OVERLAP

    def describe(self) -> str:
        """Say it in a few words."""
        return (
            f"cosine {self.least_cosine:.6f} at least, {self.mean_cosine:.6f} in the mean, "
            f"top-{NEIGHBOURS} overlap {self.overlap:.3f}"
        )


def agreement(given: Array, exact: Array) -> Agreement:
    """Compare vectors `(N, h)` with the exact ones; neighbours are by cosine, among these N."""
    given, exact = _unit(given), _unit(exact)
    cosines = (given * exact).sum(axis=1)
    pairs = zip(_nearest(given), _nearest(exact), strict=True)
    shares = [len(np.intersect1d(one, other)) / len(other) if len(other) else 1.0 for one, other in pairs]
    return Agreement(float(cosines.min()), float(cosines.mean()), float(np.mean(shares)))


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _nearest(unit: Array) -> NDArray[np.int64]:
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(unit) - 1)]
