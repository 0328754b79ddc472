"""Ranks of targets, and the metrics made of them.

`n` targets, `N` items, `d` width. A rank is 1 for the best; equal scores stand in the order of their rows, as in the
index that serves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModel
from llmemb.session import items_read, session_vectors
from training.dataset import Rows, Targets

Array = NDArray[np.float32]
Ranks = NDArray[np.int64]
Scorer = Callable[[Sequence[Rows]], Array]
"""Histories -> the score of every item, `(n, N)`, in memory of its own; `-inf` for an item that cannot be ranked."""

CHUNK = 256
"""Histories that are scored together, at most."""
CHUNK_SCORES = 2**23
"""Scores that are held together, at most, whatever the catalogue: 32 MiB, and a few times that in between."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one pass over the scores gives.

    Args:
        full: rank of each target among all items, `(n,)`.
        sampled: rank of each target among itself and its negatives, `(n,)`.
        best_rows: the best items for each history, `(n, k)`; -1 where fewer can be ranked.
        best_scores: their scores, `(n, k)`; `-inf` where there is none.
    """

    full: Ranks
    sampled: Ranks
    best_rows: Rows
    best_scores: Array


def hit_rate(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return for each target whether it is among the k best: 1 or 0. HR@k is the mean."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return `1 / log2(rank + 1)` for each target among the k best, 0 for others. NDCG@k is the mean.

    With one relevant item the ideal DCG is 1. Source: Järvelin and Kekäläinen 2002.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def reciprocal_rank(ranks: Ranks) -> NDArray[np.float64]:
    """Return `1 / rank` for each target, without a cut-off. MRR is the mean."""
    return 1.0 / ranks


def embedding_scorer(model: SequenceModel, item_vectors: Array, semantic_term: SemanticTerm | None = None) -> Scorer:
    """Score items by the inner product of the session vector and their item vectors `(N, D)`.

    Args:
        model: in evaluation mode.
        item_vectors: D is d, or d and the width of the semantic term.
        semantic_term: None where there is none.
    """
    read = items_read(model, semantic_term)

    def score(histories: Sequence[Rows]) -> Array:
        kept = [item_vectors[rows[-read:]] for rows in histories]
        return session_vectors(model, kept, semantic_term, batch_size=CHUNK) @ item_vectors.T

    return score


def rank_targets(
    model: SequenceModel,
    item_vectors: Array,
    targets: Targets,
    semantic_term: SemanticTerm | None = None,
    *,
    exclude_history: bool,
) -> Ranks:
    """Return the rank of each target among all items, by a sequence model; see `embedding_scorer`, `full_ranks`."""
    scorer = embedding_scorer(model, item_vectors, semantic_term)
    return full_ranks(scorer, targets, len(item_vectors), exclude_history=exclude_history)


def validation_ndcg(
    model: SequenceModel, item_vectors: Array, validation: Targets, semantic_term: SemanticTerm | None
) -> float:
    """Return NDCG@10 of the validation targets among the items given, histories left out: what choices go by.

    Arguments as in `rank_targets`; without targets it is 0.
    """
    ranks = rank_targets(model, item_vectors, validation, semantic_term, exclude_history=True)
    return float(ndcg(ranks, 10).mean()) if len(ranks) else 0.0


def full_ranks(scorer: Scorer, targets: Targets, num_items: int, *, exclude_history: bool) -> Ranks:
    """Return the rank of each target among all items, `(n,)`.

    Args:
        scorer: gives the scores.
        targets: histories and targets.
        num_items: N, which bounds how many histories are scored at once.
        exclude_history: leave the history's items out, but never the target.
    """
    ranks = np.empty(len(targets.rows), dtype=np.int64)
    for chunk in chunks(len(ranks), num_items):
        histories = targets.histories[chunk]
        ranks[chunk] = rank_scores(scorer(histories), histories, targets.rows[chunk], exclude_history=exclude_history)
    return ranks


def rank_scores(scores: Array, histories: Sequence[Rows], rows: Rows, *, exclude_history: bool) -> Ranks:
    """Return the rank of each target by the scores of all items, `(n,)`.

    Args:
        scores: `(n, N)`, changed where histories are excluded.
        histories: item rows before each target.
        rows: of the targets.
        exclude_history: see `full_ranks`.
    """
    own = _own(scores, rows)
    if exclude_history:
        _exclude(scores, histories)
    return _full_ranks(scores, own, rows)


def rank_both_ways(
    scorer: Scorer, targets: Targets, negatives: NDArray[np.int64], num_items: int, *, exclude_history: bool, best: int
) -> Ranking:
    """Rank each target among all items and among its negatives, scoring once, and keep the best items.

    Args:
        scorer: gives the scores.
        targets: histories and targets.
        negatives: rows that are not the target's, `(n, m)`.
        num_items: N.
        exclude_history: see `full_ranks`; a target that is in the history is not among the best items.
        best: how many of the best items to keep.

    Source of the sampled ranks: the paper's protocol, 1 positive and 100 negatives.
    """
    full, sampled = np.empty(len(targets.rows), dtype=np.int64), np.empty(len(targets.rows), dtype=np.int64)
    kept = min(best, num_items)
    best_rows = np.full((len(full), kept), -1, dtype=np.int64)
    best_scores = np.full((len(full), kept), -np.inf, dtype=np.float32)
    for chunk in chunks(len(full), num_items):
        histories, rows = targets.histories[chunk], targets.rows[chunk]
        scores = scorer(histories)
        own = _own(scores, rows)
        sampled[chunk] = _sampled_ranks(scores, own, rows, negatives[chunk])
        if exclude_history:
            _exclude(scores, histories)
        full[chunk] = _full_ranks(scores, own, rows)
        best_rows[chunk], best_scores[chunk] = _best(scores, kept)
    return Ranking(full, sampled, best_rows, best_scores)


def chunks(num_targets: int, num_items: int) -> Iterator[slice]:
    """Cut targets up, so that only some of their scores are held at once."""
    size = max(1, min(CHUNK, CHUNK_SCORES // num_items))
    for start in range(0, num_targets, size):
        yield slice(start, min(start + size, num_targets))


def _own(scores: Array, rows: Rows) -> Array:
    own: Array = scores[np.arange(len(rows)), rows]
    return own


def _exclude(scores: Array, histories: Sequence[Rows]) -> None:
    for i, history in enumerate(histories):
        scores[i, history] = -np.inf


# Both count the items behind the target, so that NaN, the score of a model that diverged, ranks last and never first.
# An item that the model cannot rank stands behind all others, whatever its row.


def _full_ranks(scores: Array, own: Array, rows: Rows) -> Ranks:
    """Rank by the scores of all items, `(n, N)`; behind are lesser scores, and equal ones of a higher row."""
    lines = np.arange(len(rows))
    # The target itself is behind its own score where it was left out with the history.
    behind = np.count_nonzero(scores < own[:, None], axis=1) - (scores[lines, rows] < own)
    equal = scores == own[:, None]
    tied = np.flatnonzero(np.count_nonzero(equal, axis=1) > equal[lines, rows])
    places, columns = np.nonzero(equal[tied])
    places = tied[places]
    behind += np.bincount(places[columns > rows[places]], minlength=len(rows))
    behind[np.isneginf(own)] = 0
    ranks: Ranks = scores.shape[1] - behind
    return ranks


def _sampled_ranks(scores: Array, own: Array, rows: Rows, negatives: NDArray[np.int64]) -> Ranks:
    """Rank by the scores of the target and of some items, `(n, m)` rows that are not the target's."""
    drawn = np.take_along_axis(scores, negatives, axis=1)
    behind = (drawn < own[:, None]) | ((drawn == own[:, None]) & (negatives > rows[:, None]))
    behind &= ~np.isneginf(own[:, None])
    ranks: Ranks = 1 + negatives.shape[1] - np.count_nonzero(behind, axis=1)
    return ranks


def _best(scores: Array, k: int) -> tuple[Rows, Array]:
    """Return the k best items of each line of `(n, N)`, which is changed, and their scores; see `Ranking`."""
    scores[np.isnan(scores)] = -np.inf
    least = np.partition(scores, -k, axis=1)[:, -k]
    best_rows = np.full((len(scores), k), -1, dtype=np.int64)
    best_scores = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for i, (line, bound) in enumerate(zip(scores, least, strict=True)):
        rows = np.flatnonzero(line >= bound if bound > -np.inf else line > -np.inf)
        rows = rows[np.lexsort((rows, -line[rows]))[:k]]
        best_rows[i, : len(rows)], best_scores[i, : len(rows)] = rows, line[rows]
    return best_rows, best_scores
