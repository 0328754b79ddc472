"""Baselines that train nothing.

`n` histories, `N` items, `p` reduced width.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.dataset import Rows
from training.ranking import Array, Scorer


def popular_scorer(train_counts: NDArray[np.int64]) -> Scorer:
    """Score every item by its training interactions, whatever the history."""
    counts = train_counts.astype(np.float32)

    def score(histories: Sequence[Rows]) -> Array:
        return np.tile(counts, (len(histories), 1))

    return score


def semantic_knn_scorer(reduced: Array, most_recent: int) -> Scorer:
    """Score items by their mean cosine, in the LLM's whitened space, to the most recent items of the history.

    Args:
        reduced: whitened raw embeddings `(N, p)`.
        most_recent: how many items of the history count.
    """
    unit = reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)

    def score(histories: Sequence[Rows]) -> Array:
        profiles = np.stack([unit[rows[-most_recent:]].mean(axis=0) for rows in histories])
        scores: Array = profiles @ unit.T
        return scores

    return score


def warm_only(scorer: Scorer, num_items: int) -> Scorer:
    """Let a scorer of the first W items score all N: `-inf` for those it has no vector of."""

    def score(histories: Sequence[Rows]) -> Array:
        warm = scorer(histories)
        return np.pad(warm, ((0, 0), (0, num_items - warm.shape[1])), constant_values=-np.inf)

    return score
