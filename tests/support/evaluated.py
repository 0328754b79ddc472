"""Made-up input of `evaluate`: a dataset of any size, raw embeddings, and untrained recommenders."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import Dataset, DatasetInfo, count_train, write_dataset
from llmemb_training.evaluation.baselines import LLM_INIT
from llmemb_training.rat.recommenders import TrainedRecommender, write_recommender
from llmemb_training.steps.evaluate import Folders

Array = NDArray[np.float32]
RAW_WIDTH = 16
MODEL = SequenceModelSpec(dim=16, max_length=10)
RAT = RatConfig(model=MODEL, components=8)


def write_inputs(
    folder: Path, *, num_items: int, num_cold: int, num_users: int, seed: int = 0
) -> tuple[Folders, Array]:
    """Write the folders of the steps before `evaluate`, with the baselines; return them and the raw embeddings.

    Some users have fewer than three items, some met cold items. A cold item is met by at most one user.

    Args:
        folder: takes them.
        num_items: all items; the cold ones come last.
        num_cold: of them.
        num_users: each with 1 to 12 warm items, of which the first are the more popular.
        seed: of all that is random.
    """
    random = np.random.default_rng(seed)
    folders = Folders(*(folder / name for name in ("prepare", "vanilla", "rat", "baselines")))
    for path in (folders.dataset, folders.vanilla, folders.rat):
        path.mkdir(parents=True)
    write_dataset(folders.dataset, _dataset(random, num_items, num_items - num_cold, num_users))
    for path, height in (
        (folders.vanilla, num_items - num_cold),
        (folders.rat, num_items),
        (folders.baselines / "vanilla_bce", num_items - num_cold),
        (folders.baselines / LLM_INIT, num_items),
    ):
        path.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        table = random.standard_normal((height, MODEL.dim), dtype=np.float32)
        write_recommender(path, TrainedRecommender(build_sequence_model(MODEL), table))
    return folders, random.standard_normal((num_items, RAW_WIDTH), dtype=np.float32)


def _dataset(random: np.random.Generator, num_items: int, num_warm: int, num_users: int) -> Dataset:
    histories, cold = [], []
    for _ in range(num_users):
        drawn = (num_warm * random.random(random.integers(1, 13)) ** 3).astype(np.int64)
        histories.append(list(dict.fromkeys(drawn.tolist())))
    users = [f"u{user}" for user in range(num_users)]
    met = num_warm + random.permutation(num_items - num_warm)[: num_users // 2]
    cold = [met[user : user + 1].tolist() for user in range(num_users)]
    rows = pl.List(pl.Int64)
    sequences = pl.DataFrame(
        {"user_id": users, "item_rows": histories, "cold_rows": cold},
        schema={"user_id": pl.String, "item_rows": rows, "cold_rows": rows},
    )
    return Dataset(
        info=DatasetInfo(domain="movie", attribute_names=("title",), num_warm=num_warm, counts={}),
        items=pl.DataFrame(
            {
                "item_id": pl.Series(np.arange(num_items)).cast(pl.String),
                "attributes": ["{}"] * num_items,
                "train_count": count_train(sequences, num_items),
            }
        ),
        sequences=sequences,
        cold=pl.DataFrame(
            {
                "user_id": [user for user, rows in zip(users, cold, strict=True) if rows],
                "history_rows": [history[:1] for history, rows in zip(histories, cold, strict=True) if rows],
                "target_row": [rows[0] for rows in cold if rows],
            },
            schema={"user_id": pl.String, "history_rows": rows, "target_row": pl.Int64},
        ),
    )
