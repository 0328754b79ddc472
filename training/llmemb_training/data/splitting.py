"""Splitting of interactions: k-core, order in time, cold items, leave-one-out."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb_training.sources.source import ITEM, TIME, USER


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return the k-core: the interactions of users and items with at least `k` interactions each, in the same order.

    Args:
        interactions: columns `user_id` and `item_id` with codes, integers from 0; other columns are kept.
        k: minimum number of interactions.

    Source: Seidman 1983; the reference code makes one pass only, after which some users have fewer than k.
    """
    users, items = interactions[USER].to_numpy(), interactions[ITEM].to_numpy()
    kept = np.ones(interactions.height, dtype=np.bool_)
    while True:
        rich = _with_at_least(users, kept, k) & _with_at_least(items, kept, k)
        if rich[kept].all():
            return interactions.filter(kept)
        kept &= rich


def _with_at_least(codes: NDArray[np.integer], kept: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Return whether the code of each row occurs in at least `k` kept rows, `(n,)`."""
    if not len(codes):
        return kept
    counts = np.bincount(codes[kept], minlength=int(codes.max()) + 1)
    enough: NDArray[np.bool_] = (counts >= k)[codes]
    return enough


ROW = "item_row"


@dataclass(frozen=True, slots=True)
class Split:
    """The split interactions; users and items are codes.

    Args:
        item_codes: code of each item row: the warm items first, then the cold ones, each shuffled by the seed, so that
            the order of the source's ids cannot be learned.
        num_warm: number of warm items.
        sequences: columns `user_id` and `item_rows`, each user's warm items, oldest first; of three or more, the last
            is the test target and the second-to-last the validation target. `times`: their times in the source.
            `cold_rows`: the cold items of the user, each once, in the order of the first interactions;
            `cold_times`: the times of these; `cold_after`: the number of warm items before each.
        cold_targets: columns `user_id`, `history_rows` (the warm items before it), `target_row`, `time`.
    """

    item_codes: NDArray[np.int64]
    num_warm: int
    sequences: pl.DataFrame
    cold_targets: pl.DataFrame


def order_in_time(interactions: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
    """Sort by user and time; ties are ordered randomly by `generator`."""
    shuffled = interactions[generator.permutation(interactions.height)]
    return shuffled.sort(USER, TIME, maintain_order=True)


def split(ordered: pl.DataFrame, cold_share: float, cold_interactions: int, generator: np.random.Generator) -> Split:
    """Hold out a share of the items, and build each user's history from the others.

    Args:
        ordered: interactions from `order_in_time`; ids are codes, integers from 0.
        cold_share: share of the items to hold out, rounded down.
        cold_interactions: maximum number of a cold item's earliest interactions that become targets. Only a user's
            first interaction with the item counts, and only if a warm item precedes it.
        generator: shuffles the items and so decides which are cold.
    """
    codes = ordered[ITEM].to_numpy()
    item_codes = np.flatnonzero(np.bincount(codes))
    item_codes = item_codes[generator.permutation(len(item_codes))]
    num_warm = len(item_codes) - int(cold_share * len(item_codes))
    row_of_code = np.empty(int(codes.max()) + 1, dtype=np.int64)
    row_of_code[item_codes] = np.arange(len(item_codes))
    rows = row_of_code[codes]
    warm = rows < num_warm

    histories = (
        ordered.select(USER, pl.Series("item_rows", rows), pl.col(TIME).alias("times"))
        .filter(warm)
        .group_by(USER, maintain_order=True)
        .all()
    )
    met = _first_interactions(
        ordered.select(USER, TIME, pl.Series(ROW, rows), pl.Series("warm_until", np.cumsum(warm))).filter(~warm),
        histories,
    )
    met_by_user = met.group_by(USER, maintain_order=True).agg(
        pl.col(ROW).alias("cold_rows"), pl.col(TIME).alias("cold_times"), pl.col("warm_before").alias("cold_after")
    )
    sequences = histories.join(met_by_user, on=USER, how="left", maintain_order="left").with_columns(
        pl.col("cold_rows", "cold_times", "cold_after").fill_null([])
    )
    return Split(item_codes, num_warm, sequences, _cold_targets(met, histories, cold_interactions))


def _first_interactions(cold: pl.DataFrame, histories: pl.DataFrame) -> pl.DataFrame:
    """Return the first interaction of each user who has a warm history with each cold item, and its `warm_before`.

    Args:
        cold: all interactions with cold items; `warm_until` counts the warm interactions of all users up to each.
        histories: the histories, in the order of the interactions.
    """
    length = pl.col("item_rows").list.len().cast(pl.Int64)
    warm_before_user = histories.select(USER, (length.cum_sum() - length).alias("warm_before_user"))
    return (
        cold.unique([USER, ROW], keep="first", maintain_order=True)
        .join(warm_before_user, on=USER, how="inner", maintain_order="left")
        .with_columns((pl.col("warm_until") - pl.col("warm_before_user")).alias("warm_before"))
        .drop("warm_until", "warm_before_user")
    )


def _cold_targets(met: pl.DataFrame, histories: pl.DataFrame, most: int) -> pl.DataFrame:
    """Choose the cold targets among the first interactions."""
    chosen = (
        met.filter(pl.col("warm_before") > 0)
        .sort(ROW, TIME, maintain_order=True)
        .group_by(ROW, maintain_order=True)
        .head(most)
        .join(histories.select(USER, "item_rows"), on=USER, how="left", maintain_order="left")
    )
    return chosen.select(
        USER,
        pl.col("item_rows").list.head(pl.col("warm_before")).alias("history_rows"),
        pl.col(ROW).alias("target_row"),
        pl.col(TIME).alias("time"),
    )


def tail_threshold(train_counts: NDArray[np.int64], share: float) -> int:
    """Return the largest count such that at most `share` of the items have that many interactions or fewer.

    If more than `share` of the items have the smallest count, the smallest count is returned.

    Args:
        train_counts: training interactions of each warm item.
        share: maximum share of the items.
    """
    values, items = np.unique(train_counts, return_counts=True)
    within = values[np.cumsum(items) <= share * len(train_counts)]
    return int(within[-1] if len(within) else values[0])
