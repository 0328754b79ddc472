"""Pseudo-cold items: warm items that are held out of one training, to choose how new items are scored.

The cold items of `prepare` are test data for new items, so nothing may be chosen on them.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmemb_training.data.dataset import Dataset, Rows, Targets, count_train


@dataclass(frozen=True, slots=True)
class Fold:
    """A dataset without some of its warm items.

    Args:
        dataset: the remaining warm items, in their order, then the held-out items as its cold items.
        order: row in the whole dataset of each row of the fold.
        mixed: validation targets of the whole dataset that follow a held-out item, in the fold's rows.
    """

    dataset: Dataset
    order: Rows
    mixed: Targets


def hold_out(dataset: Dataset, share: float, most: int, generator: np.random.Generator) -> Fold:
    """Hold out a share of the warm items of a dataset, as `prepare` holds out the cold items of its source.

    A test target of `dataset` is never used for training or as a validation target of the fold.

    Args:
        dataset: the whole dataset; its own cold items are not part of the fold.
        share: share of the warm items to hold out; at least one item is.
        most: maximum number of interactions of each held-out item that become cold targets, first in user order.
        generator: draws the items.
    """
    num_warm = dataset.num_warm
    count = min(max(1, round(share * num_warm)), num_warm - 1)
    hidden = np.sort(generator.choice(num_warm, count, replace=False))
    kept = np.setdiff1d(np.arange(num_warm), hidden)
    order = np.concatenate([kept, hidden])
    row_in_fold = np.empty(num_warm, dtype=np.int64)
    row_in_fold[order] = np.arange(num_warm)

    histories: list[Rows] = []
    users, earlier, targets = [], [], []
    taken = np.zeros(num_warm, dtype=np.int64)
    user_ids = dataset.sequences["user_id"].to_list()
    for user, whole in zip(user_ids, dataset.histories, strict=True):
        rows = row_in_fold[whole]
        warm = rows < len(kept)
        histories.append(rows[warm])
        known = len(rows) - 1 if len(rows) >= 3 else len(rows)
        for place in np.flatnonzero(~warm[:known]):
            before = rows[:place][warm[:place]]
            if len(before) and taken[rows[place]] < most:
                taken[rows[place]] += 1
                users.append(user)
                earlier.append(before)
                targets.append(int(rows[place]))
    sequences = pl.DataFrame(
        {"user_id": user_ids, "item_rows": histories, "cold_rows": [[] for _ in histories]},
        schema={"user_id": pl.String, "item_rows": pl.List(pl.Int64), "cold_rows": pl.List(pl.Int64)},
    )
    cold = pl.DataFrame(
        {"user_id": users, "history_rows": earlier, "target_row": targets},
        schema={"user_id": pl.String, "history_rows": pl.List(pl.Int64), "target_row": pl.Int64},
    )
    items = dataset.items[order].with_columns(pl.Series("train_count", count_train(sequences, num_warm)))
    info = dataset.info.model_copy(update={"num_warm": len(kept)})
    return Fold(Dataset(info, items, sequences, cold), order, _mixed(dataset.validation, row_in_fold, len(kept)))


def _mixed(validation: Targets, row_in_fold: Rows, num_kept: int) -> Targets:
    histories = [row_in_fold[rows] for rows in validation.histories]
    rows = row_in_fold[validation.rows]
    chosen = [place for place, history in enumerate(histories) if rows[place] < num_kept <= history.max()]
    return Targets(
        user_ids=tuple(validation.user_ids[place] for place in chosen),
        histories=[histories[place] for place in chosen],
        rows=rows[chosen],
    )
