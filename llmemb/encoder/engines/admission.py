"""Admission of inexact vectors: their cosines to the exact vectors, and the overlap of their nearest neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
MIN_COSINE = 0.99
MIN_OVERLAP = 0.95
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of vectors with the exact vectors of the same items.

    Args:
        min_cosine: minimum cosine of a vector with its exact one.
        mean_cosine: over the vectors.
        overlap: share of the exact ten nearest neighbours that are among the ten nearest, mean over the vectors.
    """

    min_cosine: float
    mean_cosine: float
    overlap: float

    @property
    def admitted(self) -> bool:
        """Whether the vectors may be used in place of the exact ones."""
        return self.min_cosine >= MIN_COSINE and self.overlap >= MIN_OVERLAP

    def describe(self) -> str:
        """Return the figures as text."""
        return (
            f"cosine {self.min_cosine:.6f} at least, {self.mean_cosine:.6f} in the mean, "
            f"top-{NEIGHBOURS} overlap {self.overlap:.3f}"
        )


def agreement(given: Array, exact: Array) -> Agreement:
    """Compare vectors `(N, h)` with the exact ones; neighbours are found by cosine among these N vectors."""
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
