"""Recommendations for a few users, with their history and their next item."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmemb_training.data.dataset import Dataset
from llmemb_training.report.shown_items import ShownItem, show_items

MOST_HISTORY = 8
"""Maximum number of recent items shown per user."""
FOUND = 10
"""The next item counts as found if its rank is at most this."""
PREDICTIONS_FILE = "predictions.parquet"
RECOMMENDATIONS_FILE = "recommendations.parquet"


@dataclass(frozen=True, slots=True)
class Recommended:
    """A model's list for a user."""

    model: str
    items: tuple[ShownItem, ...]


@dataclass(frozen=True, slots=True)
class ShownUser:
    """A user of the test.

    Args:
        user_id: id in the source.
        history: the most recent items, newest first.
        earlier: number of items before them.
        next_item: the test target.
        next_train_count: number of training interactions of the test target.
        rank: rank of the test target among all items, by the first model.
        lists: recommendations of each model.
    """

    user_id: str
    history: tuple[ShownItem, ...]
    earlier: int
    next_item: ShownItem
    next_train_count: int
    rank: int
    lists: tuple[Recommended, ...]

    @property
    def is_found(self) -> bool:
        """Whether the first model finds the next item."""
        return self.rank <= FOUND


def show_users(
    dataset: Dataset, evaluate_folder: Path, models: tuple[str, str], generator: np.random.Generator, each: int = 3
) -> tuple[ShownUser, ...]:
    """Draw users for whom the first model finds the next item, and the same number for whom it does not.

    Args:
        dataset: the prepared dataset.
        evaluate_folder: output of `evaluate`.
        models: the models whose lists are shown; the ranks of the first one are used.
        generator: draws the users.
        each: maximum number of users of each kind.
    """
    ranks = (
        pl.scan_parquet(evaluate_folder / PREDICTIONS_FILE)
        .filter((pl.col("model") == models[0]) & (pl.col("split") == "test"))
        .select("user_id", "rank_full")
        .sort("user_id")
        .collect()
    )
    found = pl.col("rank_full") <= FOUND
    chosen: dict[str, int] = {}
    for kind in (ranks.filter(found), ranks.filter(~found)):
        picked = generator.permutation(kind.height)[:each]
        chosen |= dict(kind[picked.tolist()].iter_rows())
    lists = pl.scan_parquet(evaluate_folder / RECOMMENDATIONS_FILE).filter(
        pl.col("user_id").is_in(list(chosen)) & pl.col("model").is_in(list(models))
    )
    items = {
        (user, model): item_ids
        for user, model, item_ids in lists.select("user_id", "model", "item_ids").collect().iter_rows()
    }
    row_of = dict(_rows_of(dataset, {item_id for item_ids in items.values() for item_id in item_ids}))
    place_of = {user: place for place, user in enumerate(dataset.test.user_ids) if user in chosen}
    needed = set(row_of.values())
    for place in place_of.values():
        needed |= {int(dataset.test.rows[place]), *dataset.test.histories[place][-MOST_HISTORY:].tolist()}
    shown = show_items(dataset, sorted(needed))
    users = []
    for user, rank in chosen.items():
        history = dataset.test.histories[place_of[user]]
        target = int(dataset.test.rows[place_of[user]])
        users.append(
            ShownUser(
                user_id=user,
                history=tuple(shown[row] for row in history[: -MOST_HISTORY - 1 : -1].tolist()),
                earlier=max(0, len(history) - MOST_HISTORY),
                next_item=shown[target],
                next_train_count=int(dataset.train_counts[target]),
                rank=rank,
                lists=tuple(
                    Recommended(model, tuple(shown[row_of[item_id]] for item_id in items[user, model]))
                    for model in models
                    if (user, model) in items
                ),
            )
        )
    return tuple(users)


def _rows_of(dataset: Dataset, item_ids: set[str]) -> list[tuple[str, int]]:
    found = dataset.items.with_row_index("row").filter(pl.col("item_id").is_in(sorted(item_ids)))
    return list(zip(found["item_id"].to_list(), found["row"].to_list(), strict=True))
