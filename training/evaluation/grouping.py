"""Groups of test targets: by the popularity of the item, and by the length of the user's history."""

import numpy as np
from numpy.typing import NDArray

from training.data.splitting import tail_threshold
from training.evaluation.figures import GroupBounds, GroupedBy

ALL, COLD, TAIL, HEAD = "all", "cold", "tail", "head"
COLD_AMONG_COLD = "cold_among_cold"
"""The cold targets ranked among the cold items alone: how well new items are told apart, whatever their place beside
the known ones."""
PARTS = 5
Counts = NDArray[np.int64]


def group_bounds(train_counts: Counts, history_lengths: Counts, tail_share: float) -> tuple[GroupBounds, ...]:
    """Return what defines each group.

    Tail and head divide the items, and tail and head users the users, at the greatest value that at most `tail_share`
    of them have or fall below. The five groups hold equal numbers of items or users, as far as equal values, which
    are never divided, allow.

    Args:
        train_counts: training interactions of each warm item, `(W,)`.
        history_lengths: length of the history before each test target, `(n,)`, one target a user.
        tail_share: share of the items, and of the users, that is tail.

    Source: LLMEmb, "Experiments", and its sister method LLM-ESR: tail and head of both, five groups of both.
    """
    bounds: list[GroupBounds] = []
    if len(train_counts):
        threshold = tail_threshold(train_counts, tail_share)
        bounds += _bounds("target_train_count", train_counts, [TAIL, HEAD], [threshold])
        bounds += _parts("target_train_count", train_counts, "popularity")
    if len(history_lengths):
        threshold = tail_threshold(history_lengths, tail_share)
        bounds += _bounds("history_length", history_lengths, ["tail_users", "head_users"], [threshold])
        bounds += _parts("history_length", history_lengths, "length")
    return tuple(bounds)


def group_masks(
    target_train_counts: Counts, history_lengths: Counts, bounds: tuple[GroupBounds, ...]
) -> dict[str, NDArray[np.bool_]]:
    """Return which targets of the test belong to each group, `(n,)`; groups without targets are left out.

    Args:
        target_train_counts: training interactions of each target's item, `(n,)`.
        history_lengths: length of the history before each target, `(n,)`.
        bounds: as `group_bounds` returns them.
    """
    values = {"target_train_count": target_train_counts, "history_length": history_lengths}
    masks = {ALL: np.ones(len(target_train_counts), dtype=bool)}
    masks |= {group.group: _within(values[group.by], group.low, group.high) for group in bounds}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _parts(by: GroupedBy, values: Counts, name: str) -> list[GroupBounds]:
    different, members = np.unique(values, return_counts=True)
    num_parts = min(PARTS, len(different))
    cumulative = members.cumsum()
    highest: list[int] = []
    first = 0
    for part in range(1, num_parts):
        # The value that ends nearest to the part's share, with a value left for each part after it.
        last = len(different) - (num_parts - part)
        nearest = np.abs(cumulative[first:last] - len(values) * part / num_parts).argmin()
        first += int(nearest) + 1
        highest.append(int(different[first - 1]))
    return _bounds(by, values, [f"{name}_{part + 1}" for part in range(num_parts)], highest)


def _bounds(by: GroupedBy, values: Counts, names: list[str], highest: list[int]) -> list[GroupBounds]:
    lows = [0, *(high + 1 for high in highest)]
    groups = []
    for name, low, high in zip(names, lows, [*highest, None], strict=True):
        members = int(np.count_nonzero(_within(values, low, high)))
        groups.append(GroupBounds(group=name, by=by, low=low, high=high, members=members))
    return groups


def _within(values: Counts, low: int, high: int | None) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = values >= low
    return within if high is None else within & (values <= high)
