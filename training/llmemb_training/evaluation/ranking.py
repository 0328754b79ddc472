"""Ranks of targets, HR@k and NDCG@k, among all items or among sampled negatives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import items_read, session_vectors
from llmemb.sequence_models import SequenceModel
from llmemb_training.data.dataset import Rows, Targets

Array = NDArray[np.float32]
Ranks = NDArray[np.int64]
Scorer = Callable[[Sequence[Rows]], Array]
"""Histories -> the score of every item, `(n, N)`, in new memory; `-inf` for an item that cannot be ranked."""

CHUNK = 256
"""Maximum number of histories scored in one batch."""
CHUNK_SCORES = 2**23
"""Maximum number of scores in memory, for any catalogue size: 32 MiB, and a few times as much for temporaries."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks and best items from one pass over the scores.

    Args:
        full: rank of each target among all items, `(n,)`.
        sampled: rank of each target among itself and its negatives, `(n,)`.
        pool: rank of each target among the items from `pool_start` on, `(n,)`; None without a pool.
        best_rows: the best items for each history, `(n, k)`, padded with -1.
        best_scores: their scores, `(n, k)`, padded with `-inf`.
    """

    full: Ranks
    sampled: Ranks
    pool: Ranks | None
    best_rows: Rows
    best_scores: Array


def hit_rate(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return 1 for each target among the k best items and 0 for the others; HR@k is the mean."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Return `1 / log2(rank + 1)` for each target among the k best items and 0 for the others; NDCG@k is the mean.

    With one relevant item the ideal DCG is 1. Source: Järvelin and Kekäläinen 2002.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def reciprocal_rank(ranks: Ranks) -> NDArray[np.float64]:
    """Return `1 / rank` for each target, without a cut-off; MRR is the mean."""
    return 1.0 / ranks


def embedding_scorer(
    model: SequenceModel,
    item_vectors: Array,
    semantic_term: SemanticTerm | None = None,
    history_vectors: Array | None = None,
) -> Scorer:
    """Score items by the inner product of the session vector and their item vectors `(N, D)`.

    Args:
        model: in evaluation mode.
        item_vectors: D is d, plus the width of the semantic term if there is one.
        semantic_term: the semantic term, or None.
        history_vectors: vectors of the items in a history, see `llmemb/scoring/session.py`, in the same rows and for
            all items that occur in histories; None: `item_vectors`.
    """
    read = items_read(model, semantic_term)
    of_history = item_vectors if history_vectors is None else history_vectors

    def score(histories: Sequence[Rows]) -> Array:
        kept = [of_history[rows[-read:]] for rows in histories]
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
    """Return the rank of each target among all items by a sequence model; see `embedding_scorer` and `full_ranks`."""
    scorer = embedding_scorer(model, item_vectors, semantic_term)
    return full_ranks(scorer, targets, len(item_vectors), exclude_history=exclude_history)


def validation_ndcg(
    model: SequenceModel, item_vectors: Array, validation: Targets, semantic_term: SemanticTerm | None
) -> float:
    """Return NDCG@10 of the validation targets among the given items, excluding the items of the history.

    Early stopping and model selection use this metric. Arguments as in `rank_targets`; it is 0 without targets.
    """
    ranks = rank_targets(model, item_vectors, validation, semantic_term, exclude_history=True)
    return float(ndcg(ranks, 10).mean()) if len(ranks) else 0.0


def full_ranks(scorer: Scorer, targets: Targets, num_items: int, *, exclude_history: bool) -> Ranks:
    """Return the rank of each target among all items, `(n,)`.

    Args:
        scorer: scores the items.
        targets: histories and targets.
        num_items: N; limits how many histories are scored in one batch.
        exclude_history: exclude the items of the history, except the target.
    """
    ranks = np.empty(len(targets.rows), dtype=np.int64)
    for chunk in chunks(len(ranks), num_items):
        histories, rows = targets.histories[chunk], targets.rows[chunk]
        ranks[chunk] = rank_scores(scorer(histories), rows, histories if exclude_history else ())
    return ranks


def rank_scores(scores: Array, rows: Rows, left_out: Sequence[Rows] = ()) -> Ranks:
    """Return the rank of each target by the scores of all items.

    Args:
        scores: `(n, N)`; modified if items are excluded.
        rows: item row of each target, `(n,)`.
        left_out: for each target the rows to exclude, except the target itself; empty: exclude none.
    """
    own = _own(scores, rows)
    _exclude(scores, left_out)
    return _full_ranks(scores, own, rows)


def rank_all_ways(
    scorer: Scorer,
    targets: Targets,
    negatives: NDArray[np.int64],
    num_items: int,
    *,
    exclude_history: bool,
    best: int,
    pool_start: int | None = None,
) -> Ranking:
    """Rank each target among all items, among its negatives and in a pool, and keep the best items; scores once.

    Args:
        scorer: scores the items.
        targets: histories and targets.
        negatives: item rows of the negatives, without the target, `(n, m)`.
        num_items: N.
        exclude_history: see `full_ranks`; a target in the history is excluded from the best items.
        best: number of best items to keep.
        pool_start: first row of the pool, which extends to the last row and contains all targets; None: no pool.

    Source of the sampled ranks: the paper's protocol, 1 positive and 100 negatives.
    """
    full, sampled = np.empty(len(targets.rows), dtype=np.int64), np.empty(len(targets.rows), dtype=np.int64)
    kept = min(best, num_items)
    pool = None if pool_start is None else np.empty(len(targets.rows), dtype=np.int64)
    best_rows = np.full((len(full), kept), -1, dtype=np.int64)
    best_scores = np.full((len(full), kept), -np.inf, dtype=np.float32)
    for chunk in chunks(len(full), num_items):
        histories, rows = targets.histories[chunk], targets.rows[chunk]
        scores = scorer(histories)
        own = _own(scores, rows)
        sampled[chunk] = _sampled_ranks(scores, own, rows, negatives[chunk])
        if pool is not None and pool_start is not None:
            pool[chunk] = rank_scores(scores[:, pool_start:], rows - pool_start)
        if exclude_history:
            _exclude(scores, histories)
        full[chunk] = _full_ranks(scores, own, rows)
        best_rows[chunk], best_scores[chunk] = _best(scores, kept)
    return Ranking(full, sampled, pool, best_rows, best_scores)


def chunks(num_targets: int, num_items: int) -> Iterator[slice]:
    """Split the targets into chunks, so that at most `CHUNK_SCORES` scores are in memory."""
    size = max(1, min(CHUNK, CHUNK_SCORES // num_items))
    for start in range(0, num_targets, size):
        yield slice(start, min(start + size, num_targets))


def _own(scores: Array, rows: Rows) -> Array:
    own: Array = scores[np.arange(len(rows)), rows]
    return own


def _exclude(scores: Array, histories: Sequence[Rows]) -> None:
    for i, history in enumerate(histories):
        scores[i, history] = -np.inf


# Both functions count the items ranked below the target, so that NaN, the score of a model that diverged, ranks last.
# An item that the model cannot rank is below all others, whatever its row.


def _full_ranks(scores: Array, own: Array, rows: Rows) -> Ranks:
    """Rank by the scores of all items, `(n, N)`; ties are ranked by ascending row."""
    lines = np.arange(len(rows))
    # A target excluded with the history has the score -inf here, so it would count as ranked below itself.
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
    """Rank by the scores of the target and of the negatives, item rows `(n, m)` without the target."""
    drawn = np.take_along_axis(scores, negatives, axis=1)
    behind = (drawn < own[:, None]) | ((drawn == own[:, None]) & (negatives > rows[:, None]))
    behind &= ~np.isneginf(own[:, None])
    ranks: Ranks = 1 + negatives.shape[1] - np.count_nonzero(behind, axis=1)
    return ranks


def _best(scores: Array, k: int) -> tuple[Rows, Array]:
    """Return the k best items of each row of `scores` `(n, N)`, which is modified, and their scores; see `Ranking`."""
    scores[np.isnan(scores)] = -np.inf
    least = np.partition(scores, -k, axis=1)[:, -k]
    best_rows = np.full((len(scores), k), -1, dtype=np.int64)
    best_scores = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for i, (line, bound) in enumerate(zip(scores, least, strict=True)):
        rows = np.flatnonzero(line >= bound if bound > -np.inf else line > -np.inf)
        rows = rows[np.lexsort((rows, -line[rows]))[:k]]
        best_rows[i, : len(rows)], best_scores[i, : len(rows)] = rows, line[rows]
    return best_rows, best_scores


NEGATIVES_CHUNK = 4096
"""Number of targets per batch when negatives are sampled."""


def draw_negatives(
    targets: Targets, interacted: Sequence[Rows], num_items: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Sample for each target `count` different items that its user never interacted with, uniformly, `(n, count)`.

    If there are fewer than `count` such items, some are sampled more than once.

    Args:
        targets: users and the target rows, which are never sampled.
        interacted: all item rows of each target's user.
        num_items: N.
        count: number of negatives per target.
        generator: draws the negatives.

    Raises:
        DataError: a user interacted with all items.
    """
    negatives = np.empty((len(targets.rows), count), dtype=np.int64)
    for start in range(0, len(negatives), NEGATIVES_CHUNK):
        stop = min(start + NEGATIVES_CHUNK, len(negatives))
        taken = [np.union1d(interacted[i], targets.rows[i : i + 1]) for i in range(start, stop)]
        free = num_items - np.array([len(rows) for rows in taken])
        if not free.all():
            user = targets.user_ids[start + int(free.argmin())]
            raise DataError(f"user {user!r} interacted with all items: there are no negatives to sample")
        # Rejection sampling is fast if most items are allowed; otherwise there are few allowed items, so list them.
        listed = (free < 2 * count) | (2 * free < num_items)
        rejecting = np.flatnonzero(~listed)
        negatives[start + rejecting] = _draw_by_rejection([taken[i] for i in rejecting], num_items, count, generator)
        for i in np.flatnonzero(listed):
            candidates = np.setdiff1d(np.arange(num_items), taken[i], assume_unique=True)
            negatives[start + i] = generator.choice(candidates, count, replace=len(candidates) < count)
    return negatives


def _draw_by_rejection(
    taken: Sequence[Rows], num_items: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Sample with replacement, reject forbidden and repeated items, and repeat until every row is full.

    The first `count` different items of such a sequence are a uniform sample without replacement.
    """
    drawn = np.full((len(taken), count), -1, dtype=np.int64)
    filled = np.zeros(len(taken), dtype=np.int64)
    # Encode row and item as one number, so that one search finds all forbidden items.
    keys = np.concatenate([i * num_items + rows for i, rows in enumerate(taken)] or [np.empty(0, dtype=np.int64)])
    while (pending := np.flatnonzero(filled < count)).size:
        draws = generator.integers(num_items, size=(len(pending), count))
        new = pending[:, None] * num_items + draws
        accepted = ~np.isin(new, keys) & _first_of_line(draws)
        places = filled[pending][:, None] + accepted.cumsum(axis=1) - 1
        accepted &= places < count
        lines = np.broadcast_to(pending[:, None], draws.shape)
        drawn[lines[accepted], places[accepted]] = draws[accepted]
        filled[pending] += np.count_nonzero(accepted, axis=1)
        keys = np.concatenate([keys, new[accepted]])
    return drawn


def _first_of_line(draws: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the first occurrence of each number in its row."""
    order = np.argsort(draws, axis=1, kind="stable")
    ordered = np.take_along_axis(draws, order, axis=1)
    first = np.ones_like(draws, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    out = np.empty_like(first)
    np.put_along_axis(out, order, first, axis=1)
    return out
