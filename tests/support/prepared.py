"""A made-up prepared dataset, without its source."""

from pathlib import Path

import numpy as np
import polars as pl

from llmemb_training.data.dataset import Dataset, DatasetInfo, count_train, write_dataset

STUDIOS = ("Amber", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Heath", "Iris", "Jade", "Kelp", "Lotus")
TASTES = 4


def write_prepared(folder: Path, *, num_items: int = 40, num_cold: int = 4, num_users: int = 60, seed: int = 0) -> Path:
    """Write a dataset of movies by twelve studios, whose users like three of them, as only the histories show.

    Args:
        folder: made where it does not exist.
        num_items: all items; row r is of studio r modulo 12, and for the taste r modulo 4.
        num_cold: the last rows, which have no interactions.
        num_users: each with a history of 6 items.
        seed: of the histories.

    Returns:
        `folder`, which `llmemb_training.data.dataset.read_dataset` reads.
    """
    random = np.random.default_rng(seed)
    num_warm = num_items - num_cold
    histories = [
        random.permutation(np.arange(user % TASTES, num_warm, TASTES))[:6].tolist() for user in range(num_users)
    ]
    sequences = pl.DataFrame(
        {"user_id": [f"u{user}" for user in range(num_users)], "item_rows": histories},
        schema={"user_id": pl.String, "item_rows": pl.List(pl.Int64)},
    )
    attributes = [
        f'{{"title":"Film number {row}","year":"{1950 + row % 70}","studio":"{STUDIOS[row % len(STUDIOS)]}"}}'
        for row in range(num_items)
    ]
    dataset = Dataset(
        info=DatasetInfo(domain="movie", attribute_names=("title", "year", "studio"), num_warm=num_warm, counts={}),
        items=pl.DataFrame(
            {
                "item_id": [f"m{row}" for row in range(num_items)],
                "attributes": attributes,
                "train_count": count_train(sequences, num_items),
            }
        ),
        sequences=sequences,
        cold=pl.DataFrame(
            {"user_id": [], "history_rows": [], "target_row": []},
            schema={"user_id": pl.String, "history_rows": pl.List(pl.Int64), "target_row": pl.Int64},
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_dataset(folder, dataset)
    return folder
