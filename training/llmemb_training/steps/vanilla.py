"""`vanilla`, the first step of the verb `rat`: the sequence model with free item vectors, which `rat` aligns to."""

from pathlib import Path

from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.rat.id_recommender import train_on_ids
from llmemb_training.rat.recommenders import VANILLA


def run(config: RatConfig, seed: int, dataset_folder: Path, output: Path, logs: Path) -> str:
    """Train and write the vanilla recommender; return the summary line."""
    progress = train_on_ids(VANILLA, config, seed, read_dataset(dataset_folder), output, logs)
    return f"{config.model.name}, {progress}{progress.warning(config.patience)}"
