"""k-core: only users and items with at least k interactions, repeated until nothing changes."""

import polars as pl

from training.sources.source import ITEM, USER


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return the interactions among users and items that all have at least `k` of them; the order is kept.

    Source: Seidman 1983; the reference code makes one pass only, after which users under k remain.
    """
    while True:
        kept = interactions.filter(pl.len().over(USER) >= k, pl.len().over(ITEM) >= k)
        if kept.height == interactions.height:
            return kept
        interactions = kept
