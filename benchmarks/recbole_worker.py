"""Worker that trains RecBole's SASRec, GRU4Rec or BERT4Rec, in RecBole's environment.

`epochs OPTIONS`: one training epoch a round, see `benchmarks.worker`.
`train OPTIONS`: until validation NDCG@10 stops rising; writes what ranks the test targets.

`benchmarks.peer_quality` reads the output.

OPTIONS is a JSON file, see `Options`. `n` test targets, `L` positions, `d` width.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

from benchmarks.worker import Answer, serve_verb

HISTORY, LENGTH = "item_id_list", "item_length"
PACKAGES = ("recbole", "torch", "numpy", "pandas")


class Options(TypedDict):
    """Options of the worker."""

    data: str
    """Folder of the files of `benchmarks.peer_files`."""
    config: dict[str, float | str]
    """RecBole's own options, including the model's name."""
    output: NotRequired[str]
    """For `train`: the output file."""
    max_minutes: NotRequired[float]
    """For `train`: time limit; no epoch starts later."""


class OutOfTimeError(Exception):
    """Raised to stop the training at the time limit."""


@dataclass(frozen=True)
class Parts:
    """RecBole's objects, ready for training."""

    dataset: SequentialDataset
    train: TrainDataLoader
    validation: FullSortEvalDataLoader
    test: FullSortEvalDataLoader
    model: SequentialRecommender
    trainer: Trainer


def load(options: Options) -> Parts:
    """Read the files and build the model."""
    data = Path(options["data"])
    fixed = {
        "data_path": str(data.parent),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id", HISTORY], "item": ["item_id"]},
        "alias_of_item_id": [HISTORY],
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "use_gpu": torch.cuda.is_available(),
        "show_progress": False,
    }
    sys.argv = sys.argv[:1]  # RecBole reads it
    given = dict(options["config"])
    name = str(given.pop("model"))
    config = Config(model=name, dataset=data.name, config_dict=fixed | given)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, validation, test = data_preparation(config, dataset)
    model = get_model(name)(config, train.dataset).to(config["device"])
    return Parts(dataset, train, validation, test, model, Trainer(config, model))


def epochs(options: Options) -> tuple[Answer, Callable[[], Answer]]:
    """Prepare for one epoch a round, by RecBole's own loop: no validation, nothing saved."""
    options["config"]["epochs"] = 1
    parts = load(options)
    steps = len(parts.train)
    facts: Answer = {"targets": len(parts.train.dataset), "items": parts.dataset.item_num - 1, "steps": steps}
    facts |= {f"version {name}": version(name) for name in PACKAGES}

    def work() -> Answer:
        start, cpu = time.perf_counter(), time.process_time()
        parts.trainer.fit(parts.train, verbose=False, saved=False)
        return {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
            "loss": parts.trainer.train_loss_dict[0] / steps,
        }

    return facts, work


def train(options: Options) -> None:
    """Train with RecBole's early stopping; write the best epoch's session vectors, item embeddings and progress."""
    parts = load(options)
    start = time.monotonic()
    progress: list[dict[str, float]] = []
    best: dict[str, torch.Tensor] = {}

    def after_epoch(epoch: int, score: float) -> None:
        loss = parts.trainer.train_loss_dict[epoch] / len(parts.train)
        progress.append({"epoch": epoch + 1, "ndcg@10": score, "loss": loss})
        print(json.dumps(progress[-1]), file=sys.stderr, flush=True)
        if score >= max(entry["ndcg@10"] for entry in progress):
            best.update({name: tensor.clone() for name, tensor in parts.model.state_dict().items()})
        if time.monotonic() - start > 60 * options["max_minutes"]:
            raise OutOfTimeError

    try:
        parts.trainer.fit(parts.train, parts.validation, verbose=False, saved=False, callback_fn=after_epoch)
        stopped = "number of epochs" if len(progress) == parts.trainer.epochs else "early stopping"
    except OutOfTimeError:
        stopped = "the time limit"
    seconds = time.monotonic() - start
    parts.model.load_state_dict(best)
    own = parts.trainer.evaluate(parts.test, load_best_model=False)
    numbers = item_numbers(parts.dataset)
    with np.load(Path(options["data"]) / "test.npz") as test:
        histories, targets = test["histories"], test["targets"]
    np.savez(
        options["output"],
        sessions=sessions(parts.model, np.where(histories < 0, 0, numbers[histories])),
        items=item_vectors(parts.model)[numbers],
        targets=targets,
        own_ndcg=own["ndcg@10"],
        progress=json.dumps(progress),
        stopped=stopped,
        seconds=seconds,
        versions=json.dumps({name: version(name) for name in PACKAGES}),
    )


def item_numbers(dataset: SequentialDataset) -> NDArray[np.int64]:
    """Return RecBole's number of each of our item rows; its 0 is the padding."""
    numbers = {token: number for token, number in dataset.field2token_id["item_id"].items() if token != "[PAD]"}
    return np.array([numbers[str(row)] for row in range(len(numbers))])


@torch.inference_mode()
def item_vectors(model: SequentialRecommender) -> NDArray[np.float32]:
    """Return what RecBole scores items by, one row an item number: the embedding, and BERT4Rec's bias behind it."""
    table = model.item_embedding.weight[: model.n_items]
    if hasattr(model, "output_bias"):
        table = torch.cat([table, model.output_bias[:, None]], dim=1)
    vectors: NDArray[np.float32] = table.cpu().numpy()
    return vectors


@torch.inference_mode()
def sessions(model: SequentialRecommender, histories: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what scores the item vectors, `(n, D)`, for histories of item numbers `(n, L)`, 0 behind the last.

    BERT4Rec's is made as its `full_sort_predict` makes it: a mask after the history, whose oldest item gives way.
    """
    model.eval()
    device = model.item_embedding.weight.device
    out = []
    for chunk in torch.from_numpy(histories).split(512):
        batch = Interaction({HISTORY: chunk, LENGTH: (chunk > 0).sum(dim=1)}).to(device)
        if hasattr(model, "reconstruct_test_data"):
            outputs = model.forward(model.reconstruct_test_data(batch[HISTORY], batch[LENGTH]))
            vectors = model.gather_indexes(outputs, batch[LENGTH] - 1)
            vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1)
        else:
            vectors = model.forward(batch[HISTORY], batch[LENGTH])
        out.append(vectors.cpu().numpy())
    return np.concatenate(out)


if __name__ == "__main__":
    serve_verb(epochs, train)
