"""Order, cold items, and leave one out."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.sources.source import ITEM, TIME, USER

ROW = "item_row"


@dataclass(frozen=True, slots=True)
class Split:
    """Interactions after the cold items were taken out.

    Args:
        item_ids: item rows in order: the warm items first, then the cold ones, each shuffled by the seed, so that
            no order of the source's ids can be learnt.
        num_warm: how many of them are warm.
        sequences: columns `user_id`, `item_rows`: each user's warm items, the oldest first. The last is the test
            target and the last but one the validation target where there are three or more.
        cold_targets: columns `user_id`, `history_rows` (the warm items before it), `target_row`.
    """

    item_ids: tuple[str, ...]
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
        ordered: interactions as `order_in_time` returns them.
        cold_share: share of the items, rounded down.
        cold_interactions: how many of a cold item's earliest interactions become targets, among those with a warm
            item before them.
        generator: draws the rows of the items and, by that, which are cold.
    """
    item_ids = ordered[ITEM].unique().sort()
    item_ids = item_ids[generator.permutation(len(item_ids))]
    num_warm = len(item_ids) - int(cold_share * len(item_ids))
    rows = pl.DataFrame({ITEM: item_ids, ROW: np.arange(len(item_ids), dtype=np.int64)})
    ordered = ordered.join(rows, on=ITEM, how="left", maintain_order="left")

    sequences = (
        ordered.filter(pl.col(ROW) < num_warm).group_by(USER, maintain_order=True).agg(pl.col(ROW).alias("item_rows"))
    )
    return Split(
        item_ids=tuple(item_ids.to_list()),
        num_warm=num_warm,
        sequences=sequences,
        cold_targets=_cold_targets(ordered, sequences, num_warm, cold_interactions),
    )


def _cold_targets(ordered: pl.DataFrame, sequences: pl.DataFrame, num_warm: int, most: int) -> pl.DataFrame:
    warm_before = (pl.col(ROW) < num_warm).cast(pl.Int64).cum_sum().over(USER).alias("warm_before")
    cold = (
        ordered.with_columns(warm_before)
        .filter(pl.col(ROW) >= num_warm, pl.col("warm_before") > 0)
        # Only a user's first meeting with the item counts, and of these the item's earliest.
        .unique([USER, ROW], keep="first", maintain_order=True)
        .sort(ROW, TIME, maintain_order=True)
        .group_by(ROW, maintain_order=True)
        .head(most)
        .join(sequences, on=USER, how="left", maintain_order="left")
    )
    return cold.select(
        USER,
        pl.col("item_rows").list.head(pl.col("warm_before")).alias("history_rows"),
        pl.col(ROW).alias("target_row"),
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
