"""A recommender with an item table of free vectors: `vanilla` and the baselines of the same kind.

`N` items, the first `W` of them warm; `d` the recommender's width.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import RatConfig
from llmemb_training.config.seeds import derive_seed
from llmemb_training.data.dataset import Dataset
from llmemb_training.rat.checkpoint import Progress, write_progress
from llmemb_training.rat.fitting import Recommender, fit
from llmemb_training.rat.item_tables import IdTable
from llmemb_training.rat.recommenders import TrainedRecommender, write_recommender


def train_on_ids(
    name: str,
    config: RatConfig,
    seed: int,
    dataset: Dataset,
    folder: Path,
    logs: Path,
    initial: NDArray[np.float32] | None = None,
) -> Progress:
    """Train a sequence model and an item table of free vectors; write them to `folder`, or resume a training there.

    Args:
        name: seeds the random draws, with `seed`.
        config: how to train.
        seed: the configuration's seed.
        dataset: what to train on.
        folder: folder for the checkpoint and the recommender.
        logs: folder for the TensorBoard logs.
        initial: initial item table, `(N, d)`; the rows of cold items are not trained. None: random, warm items only.
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
