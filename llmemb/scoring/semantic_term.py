"""The semantic term: what the texts of a history say of a candidate, in the LLM's whitened space.

`score += (sum over the history of w_i * (gamma * x_i + delta * s_i)) . x_c`: x are the items' semantic profile vectors,
s their successor vectors (what followed an item in training histories, in the same space), w the recency weights. The
first part asks whether a candidate reads like what was taken, the second whether it reads like what others took next.

It has no part in training: it is added when items are scored, offline and online alike. `N` items, `h` the LLM's
width, `q` the width of the whitened space.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import Projection, unit_length

Array = NDArray[np.float32]
SuccessorArray = NDArray[np.float16]
"""Successor vectors as they are stored: half the memory of float32. The evaluator reads the same rounded numbers."""


@dataclass(frozen=True, slots=True)
class SemanticTerm:
    """What is needed to compute the term for any item and history.

    Args:
        reduction: `(h, q)`, the whitening.
        gamma: weight of the profile vectors, positive.
        history: the most recent items that count.
        decay: weight of an item over that of the next one; 1 weighs all alike.
        delta: weight of the successor vectors; 0 where items have none.
        text_map: `(q, q)`, makes the successor vector of an item without training interactions from its profile
            vector; None: such an item has the zero vector.
    """

    reduction: Projection
    gamma: float
    history: int
    decay: float = 1.0
    delta: float = 0.0
    text_map: Array | None = None

    @property
    def components(self) -> int:
        """Width of the whitened space, `q`."""
        return self.reduction.dim

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name: `weight` and `bias` of the reduction, and `text_map` where there is one."""
        return self.reduction.arrays() | ({} if self.text_map is None else {"text_map": self.text_map})

    def apply(self, raw: Array) -> Array:
        """Return the semantic profile vectors of raw embeddings `(N, h)`: `(N, q)`, each of unit length."""
        return unit_length(self.reduction.apply(raw))

    def successors_of_texts(self, profile: Array) -> Array:
        """Return the successor vectors `(n, q)` of items of which only the profile vectors `(n, q)` are known."""
        if self.text_map is None:
            return np.zeros_like(profile)
        made: Array = profile @ self.text_map
        return made

    def query(self, profile: Array, successors: Array | None = None) -> Array:
        """Return `(q,)`, whose inner product with a candidate's profile vector is the term.

        Args:
            profile: profile vectors of a history, `(n, q)` with n >= 1, the oldest item first.
            successors: successor vectors of the same items, `(n, q)`; None where items have none.
        """
        weights = recency_weights(min(len(profile), self.history), self.decay)
        query: Array = np.float32(self.gamma) * (weights @ profile[-self.history :])
        if successors is not None:
            query = query + np.float32(self.delta) * (weights @ successors[-self.history :])
        return query


@cache
def recency_weights(length: int, decay: float) -> Array:
    """Return the weights of a history's items, `(length,)`, the oldest first and their sum 1; not to be written to."""
    weights = decay ** np.arange(length - 1, -1, -1, dtype=np.float64)
    shares = np.asarray(weights / weights.sum(), dtype=np.float32)
    shares.flags.writeable = False
    return shares
