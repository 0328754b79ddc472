"""From interactions to the split: k-core, order in time, cold items, leave one out."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.sources.source import ITEM, TIME, USER


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return the interactions among users and items that all have at least `k` of them; the order is kept.

    Args:
        interactions: columns `user_id` and `item_id` hold codes, integers from 0, and perhaps others.
        k: see above.

    Source: Seidman 1983; the reference code makes one pass only, after which users under k remain.
    """
    users, items = interactions[USER].to_numpy(), interactions[ITEM].to_numpy()
    kept = np.ones(interactions.height, dtype=np.bool_)
    while True:
        rich = _with_at_least(users, kept, k) & _with_at_least(items, kept, k)
        if rich[kept].all():
            return interactions.filter(kept)
        kept &= rich


def _with_at_least(codes: NDArray[np.integer], kept: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Whether the code of each row has `k` rows among those kept, `(n,)`."""
    if not len(codes):
        return kept
    counts = np.bincount(codes[kept], minlength=int(codes.max()) + 1)
    enough: NDArray[np.bool_] = (counts >= k)[codes]
    return enough


ROW = "item_row"


@dataclass(frozen=True, slots=True)
class Split:
    """Interactions after the cold items were taken out; users and items are the codes of the source.

    Args:
        item_codes: the item of each item row: the warm items first, then the cold ones, each shuffled by the seed, so
            that no order of the source's ids can be learnt.
        num_warm: how many of them are warm.
        sequences: columns `user_id`, `item_rows`: each user's warm items, the oldest first. The last is the test
            target and the last but one the validation target where there are three or more. `times`: when, as the
            source says it. `cold_rows`: the cold items the user met at any time, each once, in the order of the first
            meetings; `cold_times`: when that was; `cold_after`: how many of the warm items stand before it.
        cold_targets: columns `user_id`, `history_rows` (the warm items before it), `target_row`, `time`.
    """

    item_codes: NDArray[np.int64]
    num_warm: int
    sequences: pl.DataFrame
    cold_targets: pl.DataFrame


def order_in_time(interactions: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
    """Sort by user and time; equal times stand in an order drawn from `generator`."""
    shuffled = interactions[generator.permutation(interactions.height)]
    return shuffled.sort(USER, TIME, maintain_order=True)


def split(ordered: pl.DataFrame, cold_share: float, cold_interactions: int, generator: np.random.Generator) -> Split:
    """Hold a share of the items out, and make each user's history of the rest.

    Args:
        ordered: interactions as `order_in_time` returns them; ids are codes, integers from 0.
        cold_share: share of the items, rounded down.
        cold_interactions: how many of a cold item's earliest interactions become targets: of a user's meetings with
            it only the first counts, and only where a warm item stands before it.
        generator: draws the rows of the items and, by that, which are cold.
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
    met = _first_meetings(
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


def _first_meetings(cold: pl.DataFrame, histories: pl.DataFrame) -> pl.DataFrame:
    """Return the first meeting of each user with a warm history and each cold item, with `warm_before` beside it.

    Args:
        cold: all meetings; `warm_until` counts the warm interactions of all users up to each.
        histories: in the order of the interactions, so that those of the users before make the difference.
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
    """Choose among the first meetings."""
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
    """Return the greatest count such that at most `share` of the items have that many interactions or fewer.

    Where even the smallest count belongs to more than `share` of the items, that count is returned.

    Args:
        train_counts: training interactions of each warm item.
        share: of the items.
    """
    values, items = np.unique(train_counts, return_counts=True)
    within = values[np.cumsum(items) <= share * len(train_counts)]
    return int(within[-1] if len(within) else values[0])
