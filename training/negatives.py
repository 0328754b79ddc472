"""Negatives of the sampled protocol: items that a user never interacted with.

`n` targets, `N` items.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import DataError
from training.dataset import Rows, Targets

CHUNK = 4096
"""Targets that are drawn for together."""


def draw_negatives(
    targets: Targets, interacted: Sequence[Rows], num_items: int, count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw for each target `count` different items that its user never interacted with, `(n, count)`, uniformly.

    Where a user leaves fewer than `count` items, some are drawn more than once.

    Args:
        targets: users and the rows that they get no negative of.
        interacted: item rows of each target's user.
        num_items: N.
        count: how many for each target.
        generator: decides.

    Raises:
        DataError: a user leaves none.
    """
    negatives = np.empty((len(targets.rows), count), dtype=np.int64)
    for start in range(0, len(negatives), CHUNK):
        stop = min(start + CHUNK, len(negatives))
        taken = [np.union1d(interacted[i], targets.rows[i : i + 1]) for i in range(start, stop)]
        free = num_items - np.array([len(rows) for rows in taken])
        if not free.all():
            user = targets.user_ids[start + int(free.argmin())]
            raise DataError(f"user {user!r} interacted with all items: none is left to rank among")
        # Drawing again what was refused is quick where most items are free; elsewhere the free ones are few enough, or
        # few enough beside the user's own, to be listed.
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
    """Draw with replacement, refuse what is taken or came before, and go on until every line is full.

    The first `count` different items of such a sequence are a uniform sample without replacement.
    """
    drawn = np.full((len(taken), count), -1, dtype=np.int64)
    filled = np.zeros(len(taken), dtype=np.int64)
    # A line and an item make one number, so that one search finds all that is taken.
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
    """Return which numbers of each line do not stand further left in it."""
    order = np.argsort(draws, axis=1, kind="stable")
    ordered = np.take_along_axis(draws, order, axis=1)
    first = np.ones_like(draws, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    out = np.empty_like(first)
    np.put_along_axis(out, order, first, axis=1)
    return out
