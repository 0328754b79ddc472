"""Groups of test targets: by the popularity of the item, and by the length of the user's history."""

import numpy as np
from numpy.typing import NDArray

from llmemb_training.data.splitting import tail_threshold
from llmemb_training.evaluation.figures import GroupBounds, GroupedBy

ALL, COLD, TAIL, HEAD = "all", "cold", "tail", "head"
COLD_AMONG_COLD = "cold_among_cold"
"""The cold targets ranked among the cold items only: measures how well new items are distinguished from each other."""
PARTS = 5
Counts = NDArray[np.int64]


def group_bounds(train_counts: Counts, history_lengths: Counts, tail_share: float) -> tuple[GroupBounds, ...]:
    """Return the bounds of each group.

    The tail consists of the items whose count is at most a threshold: the largest value such that the tail has at most
    `tail_share` of the items. The head has the other items. Tail and head users are split by history length in the same
    way. The five groups have about the same number of items or users; equal values are always in the same group.

    Args:
        train_counts: training interactions of each warm item, `(W,)`.
        history_lengths: length of the history before each test target, `(n,)`, one target per user.
        tail_share: maximum share of the items, and of the users, in the tail.

    Source: LLMEmb, "Experiments", and the related method LLM-ESR: tail and head, and five groups, of items and users.
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
    """Return a mask `(n,)` of the test targets in each group; groups without targets are omitted.

    Args:
        target_train_counts: training interactions of each target item, `(n,)`.
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
        # The split nearest to an equal share that leaves at least one value for each later part.
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
