"""Baselines without gradient training: most popular, semantic nearest neighbours, EASE and ItemKNN.

`n` histories, `N` items, `W` warm items, `U` users, `p` reduced width.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.sparse import csr_array

from llmemb.scoring.projection import unit_length
from llmemb.scoring.semantic_term import recency_weights
from llmemb_training.data.dataset import Rows
from llmemb_training.evaluation.ranking import Array, Scorer

LLM_INIT = "llm_init"
EASE_ITEMS = 20_000
"""Maximum number of warm items for EASE, whose dense matrix takes 1.6 GB at this size."""


def other_vanilla(loss: str) -> tuple[str, Literal["bce", "softmax"]]:
    """Return the name and loss of the second vanilla baseline: full softmax if `loss` is BCE, else BCE."""
    return ("vanilla_softmax", "softmax") if loss == "bce" else ("vanilla_bce", "bce")


def popular_scorer(train_counts: NDArray[np.int64]) -> Scorer:
    """Score every item by its number of training interactions, independent of the history."""
    counts = train_counts.astype(np.float32)

    def score(histories: Sequence[Rows]) -> Array:
        return np.tile(counts, (len(histories), 1))

    return score


def semantic_knn_scorer(reduced: Array, most_recent: int, decay: float) -> Scorer:
    """Score items by the weighted mean of their cosines to the most recent items, in the LLM's whitened space.

    Args:
        reduced: whitened raw embeddings `(N, p)`.
        most_recent: number of items of the history that are used.
        decay: weight of an item relative to the next, more recent one.
    """
    unit = unit_length(reduced)

    def score(histories: Sequence[Rows]) -> Array:
        recent = [rows[-most_recent:] for rows in histories]
        profiles = np.stack([recency_weights(len(rows), decay) @ unit[rows] for rows in recent])
        scores: Array = profiles @ unit.T
        return scores

    return score


def collaborative_scorer(train: Sequence[Rows], num_warm: int, regularisation: float) -> tuple[str, Scorer]:
    """Return the name and scorer of the neighbourhood baseline: `ease`, or `item_knn` above `EASE_ITEMS` items.

    Args:
        train: each user's training items.
        num_warm: W; the scores are `(n, W)`.
        regularisation: lambda in EASE.
    """
    if num_warm <= EASE_ITEMS:
        return "ease", ease_scorer(train, num_warm, regularisation)
    return "item_knn", item_knn_scorer(train, num_warm)


def ease_scorer(train: Sequence[Rows], num_warm: int, regularisation: float) -> Scorer:
    """Score items by a linear model of the set of items in the history, fitted in closed form.

    Args:
        train: each user's training items.
        num_warm: W.
        regularisation: lambda.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", algorithm 1.
    """
    users = _interactions(train, num_warm)
    gram = (users.T @ users).toarray()
    gram[np.diag_indices(num_warm)] += regularisation
    weights = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
    weights /= -weights.diagonal().copy()
    np.fill_diagonal(weights, 0.0)

    def score(histories: Sequence[Rows]) -> Array:
        scores: Array = _interactions(histories, num_warm) @ weights
        return scores

    return score


def item_knn_scorer(train: Sequence[Rows], num_warm: int) -> Scorer:
    """Score items by the sum of their cosines to the items of the history; an item's vector is its set of users.

    All items are neighbours, except an item of itself. No `(W, W)` matrix is computed.

    Args:
        train: each user's training items.
        num_warm: W.

    Source: Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms", section 3.1.1.
    """
    users = _interactions(train, num_warm)
    counts = np.bincount(users.indices, minlength=num_warm)
    unit = users.copy()
    unit.data /= np.sqrt(counts[unit.indices], dtype=np.float32)
    items = unit.T.tocsr()

    def score(histories: Sequence[Rows]) -> Array:
        chosen = _interactions(histories, num_warm)
        scores: Array = ((chosen @ items) @ unit).toarray()
        for line, rows in zip(scores, histories, strict=True):
            own = np.unique(rows)
            line[own] -= counts[own] > 0
        return scores

    return score


def warm_only(scorer: Scorer, num_items: int) -> Scorer:
    """Extend a scorer of the first W items to all N items, with `-inf` for the others."""

    def score(histories: Sequence[Rows]) -> Array:
        warm = scorer(histories)
        return np.pad(warm, ((0, 0), (0, num_items - warm.shape[1])), constant_values=-np.inf)

    return score


def _interactions(histories: Sequence[Rows], num_warm: int) -> csr_array:
    """Return `(n, W)` float32: 1 if the history contains the item, else 0."""
    sets = [np.unique(rows) for rows in histories]
    indices = np.concatenate([*sets, np.empty(0, dtype=np.int64)])
    ends = np.cumsum([0, *map(len, sets)])
    return csr_array((np.ones(len(indices), dtype=np.float32), indices, ends), shape=(len(sets), num_warm))
