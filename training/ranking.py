"""Ranks of targets, and the metrics made of them.

`n` targets, `N` items, `d` width. A rank is 1 for the best; equal scores stand in the order of their rows, as in the
index that serves.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb.sequence_models import SequenceModel
from llmemb.session import session_vectors
from training.dataset import Rows, Targets

Array = NDArray[np.float32]
Ranks = NDArray[np.int64]
Scorer = Callable[[Sequence[Rows]], Array]
"""Histories -> the score of every item, `(n, N)`."""

CHUNK = 256


def hit_rate(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return for each target whether it is among the k best: 1 or 0. HR@k is the mean."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return `1 / log2(rank + 1)` for each target among the k best, 0 for others. NDCG@k is the mean.

    With one relevant item the ideal DCG is 1. Source: Järvelin and Kekäläinen 2002.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def rank_targets(model: SequenceModel, embeddings: Array, targets: Targets, *, exclude_history: bool) -> Ranks:
    """Return the rank of each target among all items of `embeddings` `(N, d)`, by a sequence model."""
    return full_ranks(embedding_scorer(model, embeddings), targets, exclude_history=exclude_history)


def embedding_scorer(model: SequenceModel, embeddings: Array) -> Scorer:
    """Score items by the inner product of the session vector and their embeddings `(N, d)`."""

    def score(histories: Sequence[Rows]) -> Array:
        sessions = session_vectors(model, [embeddings[rows[-model.spec.max_length :]] for rows in histories], CHUNK)
        return sessions @ embeddings.T

    return score


def full_ranks(scorer: Scorer, targets: Targets, *, exclude_history: bool) -> Ranks:
    """Return the rank of each target among all items, `(n,)`.

    Args:
        scorer: gives the scores; `-inf` for an item that the model cannot rank.
        targets: histories and targets.
        exclude_history: leave the history's items out, but never the target.
    """
    ranks = np.empty(len(targets.rows), dtype=np.int64)
    for start in range(0, len(ranks), CHUNK):
        histories = targets.histories[start : start + CHUNK]
        rows = targets.rows[start : start + CHUNK]
        scores = scorer(histories)
        own = scores[np.arange(len(rows)), rows]
        if exclude_history:
            for i, history in enumerate(histories):
                scores[i, history] = -np.inf
        ranks[start : start + CHUNK] = _ranks(scores, own, rows, np.arange(scores.shape[1]))
    return ranks


def sampled_ranks(scorer: Scorer, targets: Targets, negatives: NDArray[np.int64]) -> Ranks:
    """Return the rank of each target among itself and its negatives `(n, m)`, `(n,)`.

    Source: the paper's protocol, 1 positive and 100 negatives.
    """
    ranks = np.empty(len(targets.rows), dtype=np.int64)
    for start in range(0, len(ranks), CHUNK):
        rows = targets.rows[start : start + CHUNK]
        drawn = negatives[start : start + CHUNK]
        scores = scorer(targets.histories[start : start + CHUNK])
        own = scores[np.arange(len(rows)), rows]
        ranks[start : start + CHUNK] = _ranks(np.take_along_axis(scores, drawn, axis=1), own, rows, drawn)
    return ranks


def draw_negatives(
    targets: Targets, interacted: Sequence[Rows], num_items: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw for each target `count` different items that its user never interacted with, `(n, count)`.

    Where a user leaves fewer than `count` items, some are drawn more than once.

    Raises:
        DataError: a user leaves none.
    """
    negatives = np.empty((len(targets.rows), count), dtype=np.int64)
    for i, row in enumerate(targets.rows):
        free = np.ones(num_items, dtype=bool)
        free[interacted[i]] = False
        free[row] = False
        candidates = np.flatnonzero(free)
        if not candidates.size:
            raise DataError(f"user {targets.user_ids[i]!r} interacted with all items: none is left to rank among")
        negatives[i] = generator.choice(candidates, count, replace=len(candidates) < count)
    return negatives


def _ranks(scores: Array, own: Array, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Ranks:
    """Count what stands before the target: all but lesser scores, and equal ones of a higher item row."""
    own = own[:, None]
    others = columns != rows[:, None]
    # Counted are the items behind, so that NaN, the score of a model that diverged, ranks last and never first.
    behind = (scores < own) | ((scores == own) & (columns > rows[:, None]))
    # An item that the model cannot rank stands behind all others, whatever its row.
    behind &= ~np.isneginf(own)
    ranks: Ranks = 1 + (others & ~behind).sum(axis=1)
    return ranks
