"""The semantic term: `score += gamma * similarity(history profile, candidate)`, in the LLM's whitened space.

It has no part in training: what text alone says of a history is added when items are scored, offline and online
alike. `N` items, `h` the LLM's width, `q` the width of the whitened space.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llmemb.projection import Projection, unit_length

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticTerm:
    """What is needed to compute the term for any item and history.

    Args:
        reduction: `(h, q)`, the whitening.
        gamma: weight of the term, positive.
        history: the most recent items that make a history's profile.
        decay: weight of an item over that of the next one; 1 weighs all alike.
    """

    reduction: Projection
    gamma: float
    history: int
    decay: float = 1.0

    @property
    def components(self) -> int:
        """Width of the whitened space, `q`."""
        return self.reduction.dim

    def apply(self, raw: Array) -> Array:
        """Return the semantic profile vectors of raw embeddings `(N, h)`: `(N, q)`, each of unit length."""
        return unit_length(self.reduction.apply(raw))

    def query(self, profile_vectors: Array) -> Array:
        """Return `(q,)`, whose inner product with an item's profile vector is the term.

        It is gamma times the weighted mean of the most recent vectors, hence the product gamma times the weighted mean
        of their cosines.

        Args:
            profile_vectors: of a history, `(n, q)` with n >= 1, the oldest item first.
        """
        recent = profile_vectors[-self.history :]
        weights = recency_weights(len(recent), self.decay)
        mean: Array = np.float32(self.gamma) * (weights @ recent)
        return mean


@cache
def recency_weights(length: int, decay: float) -> Array:
    """Return the weights of a history's items, `(length,)`, the oldest first and their sum 1; not to be written to."""
    weights = decay ** np.arange(length - 1, -1, -1, dtype=np.float64)
    shares = np.asarray(weights / weights.sum(), dtype=np.float32)
    shares.flags.writeable = False
    return shares
