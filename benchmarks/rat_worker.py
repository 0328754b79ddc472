"""Worker that trains our SASRec for one epoch per round: `MODEL DATASET CONFIG`, MODEL is `vanilla` or `llmemb`.

DATASET is the folder of `prepare`, CONFIG a JSON file of the section `rat`. The values of the LLM's embeddings, of the
vanilla item table and of the weights change no time: they are random here.
"""

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.worker import Answer, serve
from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.rat.batches import cut_windows
from llmemb_training.rat.fitting import Recommender, Regulariser, train_epoch
from llmemb_training.rat.item_tables import AdaptedTable, IdTable
from llmemb_training.rat.losses import alignment_loss
from llmemb_training.rat.recommenders import LLMEMB

SEED = 42


def build(model: str, config: RatConfig, dataset: Dataset) -> tuple[Recommender, Regulariser | None]:
    """Return the recommender and, for `llmemb`, its alignment."""
    num_warm = dataset.num_warm
    if model != LLMEMB:
        return Recommender(IdTable(num_warm, config.model.dim), build_sequence_model(config.model)), None
    assert isinstance(config.components, int)
    generator = np.random.default_rng(SEED)
    reduced = generator.standard_normal((num_warm, config.components), dtype=np.float32)
    table = AdaptedTable(reduced, dataset.train_counts[:num_warm], config)
    collaborative = torch.randn(num_warm, config.model.dim)

    def align(rows: Tensor) -> Tensor:
        return config.alignment.alpha * alignment_loss(table.semantic(rows), collaborative[rows], config.alignment)

    return Recommender(table, build_sequence_model(config.model)), align


def prepare(model: str, dataset: Dataset, config: RatConfig) -> tuple[Answer, Callable[[], Answer]]:
    """Prepare for one epoch per round."""
    torch.manual_seed(SEED)
    recommender, regulariser = build(model, config, dataset)
    optimizer = torch.optim.AdamW(recommender.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    windows = cut_windows(dataset.train, config.model.max_length, "next_item")
    epochs = count()
    facts: Answer = {
        "targets": sum(len(window) - 1 for window in windows),
        "items": dataset.num_warm,
        "steps": -(-len(windows) // config.batch_size),
    }

    def work() -> Answer:
        start, cpu = time.perf_counter(), time.process_time()
        loss = train_epoch(model, recommender, windows, optimizer, config, SEED, next(epochs), regulariser)
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, "loss": loss}

    return facts, work


if __name__ == "__main__":
    name, dataset_folder, config_file = sys.argv[1:]
    section = RatConfig.model_validate_json(Path(config_file).read_text(encoding="utf-8"))
    serve(lambda: prepare(name, read_dataset(Path(dataset_folder)), section))
