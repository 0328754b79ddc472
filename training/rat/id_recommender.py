"""A recommender on ids: what `vanilla` trains, and the baselines that are like it.

`N` items, the first `W` of them warm; `d` the recommender's width.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.sequence_models import build_sequence_model
from training.config import RatConfig
from training.config.seeds import derive_seed
from training.data.dataset import Dataset
from training.rat.checkpoint import Progress, write_progress
from training.rat.fitting import Recommender, fit
from training.rat.item_tables import IdTable
from training.rat.recommenders import TrainedRecommender, write_recommender


def train_on_ids(
    name: str,
    config: RatConfig,
    seed: int,
    dataset: Dataset,
    folder: Path,
    logs: Path,
    initial: NDArray[np.float32] | None = None,
) -> Progress:
    """Train a sequence model and a table of ids and write them into `folder`; goes on from a checkpoint there.

    Args:
        name: decides the random draws.
        config: how to train.
        seed: the configuration's seed.
        dataset: what to train on.
        folder: takes the checkpoint and the recommender.
        logs: takes the TensorBoard logs.
        initial: the table to start from, `(N, d)`; the rows of the cold items stay as they are. None starts at random,
            without cold items.
    """
    num_warm = dataset.num_warm
    torch.manual_seed(derive_seed(seed, name, "weights"))
    table = IdTable(num_warm, config.model.dim, None if initial is None else initial[:num_warm])
    recommender = Recommender(table, build_sequence_model(config.model))
    recommender.to("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = folder / "checkpoint.safetensors"
    progress = fit(name, recommender, dataset.train, dataset.validation, config, seed, checkpoint, logs)
    embeddings = recommender.item_embeddings()
    if initial is not None:
        embeddings = np.concatenate([embeddings, initial[num_warm:]])
    write_recommender(folder, TrainedRecommender(recommender.model.cpu(), embeddings))
    write_progress(folder, progress)
    return progress
