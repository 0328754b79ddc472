"""`vanilla`, the first half of the verb `rat`: the sequence model on ids alone, whose item table `rat` aligns to."""

from pathlib import Path

import torch

from llmemb.sequence_models import build_sequence_model
from training.config import RatConfig
from training.dataset import read_dataset
from training.fitting import Recommender, fit
from training.item_tables import IdTable
from training.recommenders import VANILLA, TrainedRecommender, write_recommender
from training.seeds import derive_seed


def run(config: RatConfig, seed: int, dataset_folder: Path, output: Path, logs: Path) -> str:
    """Train the vanilla recommender and write it; return the summary line."""
    dataset = read_dataset(dataset_folder)
    torch.manual_seed(derive_seed(seed, VANILLA, "weights"))
    recommender = Recommender(IdTable(dataset.num_warm, config.model.dim), build_sequence_model(config.model))
    recommender.to("cuda" if torch.cuda.is_available() else "cpu")
    progress = fit(
        VANILLA,
        recommender,
        dataset.train,
        dataset.validation,
        config,
        seed,
        output / "checkpoint.safetensors",
        logs,
    )
    write_recommender(output, TrainedRecommender(recommender.model.cpu(), recommender.item_embeddings()))
    return f"{config.model.name}, {progress}"
