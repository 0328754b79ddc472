"""`vanilla`, the first half of the verb `rat`: the sequence model on ids alone, whose item table `rat` aligns to."""

from pathlib import Path

from training.config import RatConfig
from training.data.dataset import read_dataset
from training.rat.id_recommender import train_on_ids
from training.rat.recommenders import VANILLA


def run(config: RatConfig, seed: int, dataset_folder: Path, output: Path, logs: Path) -> str:
    """Train the vanilla recommender and write it; return the summary line."""
    progress = train_on_ids(VANILLA, config, seed, read_dataset(dataset_folder), output, logs)
    return f"{config.model.name}, {progress}{progress.warning(config.patience)}"
