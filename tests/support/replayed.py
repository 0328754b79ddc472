"""A prepared dataset whose held-out items were met in time, made by `splitting` from made-up interactions."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from llmemb_training.data.dataset import Dataset, DatasetInfo, count_train
from llmemb_training.data.splitting import order_in_time, split
from llmemb_training.sources.source import ITEM, TIME, USER

Interaction = tuple[int, int, float]
"""User, item, time."""


def dataset_of(interactions: Sequence[Interaction], cold_share: float, seed: int = 0) -> Dataset:
    """Split interactions as `prepare` does; the ids are `u0`, `u1`... and `m0`, `m1`..."""
    frame = pl.DataFrame(list(interactions), schema={USER: pl.UInt32, ITEM: pl.UInt32, TIME: pl.Float64}, orient="row")
    ordered = order_in_time(frame, np.random.default_rng(seed))
    parts = split(ordered, cold_share, 10, np.random.default_rng(seed))
    num_items = len(parts.item_codes)
    sequences, cold = (table.with_columns(pl.format("u{}", USER)) for table in (parts.sequences, parts.cold_targets))
    return Dataset(
        info=DatasetInfo(domain="movie", attribute_names=("title",), num_warm=parts.num_warm, counts={}),
        items=pl.DataFrame(
            {
                "item_id": [f"m{code}" for code in parts.item_codes],
                "attributes": ["{}"] * num_items,
                "train_count": count_train(sequences, num_items),
            }
        ),
        sequences=sequences,
        cold=cold,
    )


def interactions_in_time(
    *, num_users: int = 80, num_items: int = 36, length: int = 12, seed: int = 0
) -> list[Interaction]:
    """Make users that come one after the other and overlap, each with different items of one of four tastes."""
    random = np.random.default_rng(seed)
    made = []
    for user in range(num_users):
        liked = np.arange(user % 4, num_items, 4)
        items = np.concatenate([random.permutation(liked), random.permutation(num_items)])
        for step, item in enumerate(dict.fromkeys(items.tolist()).keys()):
            if step == length:
                break
            made.append((user, item, 10.0 * user + 7.0 * step))
    return made
