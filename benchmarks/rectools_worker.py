"""Worker that trains RecTools' SASRec or BERT4Rec, in RecTools' environment.

`epochs OPTIONS`: one training epoch a round, see `benchmarks.worker`.
`train OPTIONS`: until validation NDCG@10 stops rising; writes what ranks the test targets.

`benchmarks.peer_quality` reads the output.

OPTIONS is a JSON file, see `Options`. `n` targets, `L` positions, `d` width, `W` warm items.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import rectools.models
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.base import TransformerModelBase

from benchmarks.worker import Answer, serve_verb

SEED = 42
PACKAGES = ("rectools", "torch", "pytorch-lightning")
CHUNK = 1024
"""Number of histories per scoring batch."""


class Options(TypedDict):
    """Options of the worker."""

    data: str
    """Folder of the files of `benchmarks.peer_files`; of them `epochs` reads `windows.npz` alone."""
    name: str
    """The model's class."""
    model: dict[str, Any]
    """RecTools' own options."""
    output: NotRequired[str]
    """Of `train`: the file to write."""
    seed: NotRequired[int]
    """Of `train`."""
    epochs: NotRequired[int]
    """Of `train`: at most."""
    patience: NotRequired[int]
    """Of `train`: epochs without a better validation NDCG@10."""
    max_minutes: NotRequired[float]
    """Of `train`: no epoch begins later."""


class EpochTimer(Callback):
    """Keeps what the last epoch took, without what RecTools does around it."""

    seconds = cpu_seconds = loss = 0.0

    def on_train_epoch_start(self, *_: object) -> None:
        """Begin."""
        self._start, self._cpu = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """End."""
        self.seconds, self.cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu
        self.loss = float(trainer.callback_metrics["train_loss"])


class EarlyStop(Callback):
    """Ranks the validation targets after each epoch as ours does, keeps the best weights and ends the training.

    RecTools' own validation is a loss; by NDCG@10 all sides choose their epoch alike.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.start = time.monotonic()
        self.progress: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.stopped = "number of epochs"

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Validate, and decide whether to go on."""
        histories, targets = read_targets(Path(self.options["data"]) / "valid.npz")
        sessions, items = export(module, histories)
        score = ndcg_at_10(sessions, items, histories, targets, exclude_history=True)
        epoch = len(self.progress) + 1
        loss = float(trainer.callback_metrics["train_loss"])
        if score > max((entry["ndcg@10"] for entry in self.progress), default=-1.0):
            self.best = {name: tensor.clone() for name, tensor in module.torch_model.state_dict().items()}
        self.progress.append({"epoch": epoch, "ndcg@10": score, "loss": loss})
        print(json.dumps(self.progress[-1]), file=sys.stderr, flush=True)
        best = max(self.progress, key=lambda entry: entry["ndcg@10"])["epoch"]
        if epoch - best >= self.options["patience"]:
            self.stopped = "early stopping"
        elif time.monotonic() - self.start > 60 * self.options["max_minutes"]:
            self.stopped = "the time limit"
        trainer.should_stop = self.stopped != "number of epochs"
        module.train()


def build(options: Options, trainer: Callable[[], Trainer]) -> tuple[TransformerModelBase[Any], Dataset, int]:
    """Return the model, its data, in which every training window is a user, and the number of windows."""
    with np.load(Path(options["data"]) / "windows.npz") as file:
        rows, lengths = file["rows"], file["lengths"]
    interactions = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: rows,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(rows)), unit="s"),
        }
    )
    model = getattr(rectools.models, options["name"])(
        **options["model"],
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
    )
    return model, Dataset.construct(interactions), len(lengths)


def make_trainer(callback: Callback, max_epochs: int) -> Trainer:
    """Return a trainer that does nothing beside training but what the callback does."""
    return Trainer(
        max_epochs=max_epochs,
        accelerator="auto",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def epochs(options: Options) -> tuple[Answer, Callable[[], Answer]]:
    """Prepare for one epoch a round: every window is a user, so the targets are those of ours."""
    torch.manual_seed(SEED)
    model, dataset, windows = build(options, lambda: make_trainer(EpochTimer(), 1))
    interactions = dataset.interactions.df
    facts: Answer = {"targets": len(interactions) - windows, "items": int(interactions[Columns.Item].nunique())}
    facts |= {f"version {name}": version(name) for name in PACKAGES}

    def work() -> Answer:
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        # RecTools trains with a copy of the trainer.
        timer = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochTimer))
        return {"seconds": timer.seconds, "cpu_seconds": timer.cpu_seconds, "loss": timer.loss}

    return facts, work


def train(options: Options) -> None:
    """Train with early stopping; write the best epoch's session vectors, item vectors and progress."""
    torch.manual_seed(options["seed"])
    np.random.seed(options["seed"])
    model, dataset, _ = build(options, lambda: make_trainer(EarlyStop(options), options["epochs"]))
    start = time.monotonic()
    model.fit(dataset)
    seconds = time.monotonic() - start
    stop = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, EarlyStop))
    model.torch_model.load_state_dict(stop.best)
    histories, targets = read_targets(Path(options["data"]) / "test.npz")
    sessions, items = export(model.lightning_model, histories)
    np.savez(
        options["output"],
        sessions=sessions,
        items=items,
        targets=targets,
        own_ndcg=own_ndcg(model, histories, targets),
        progress=json.dumps(stop.progress),
        stopped=stop.stopped,
        seconds=seconds,
        versions=json.dumps({name: version(name) for name in PACKAGES}),
    )


def read_targets(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return histories `(n, L)`, -1 behind the last item, and targets `(n,)`."""
    with np.load(path) as arrays:
        return arrays["histories"], arrays["targets"]


@torch.inference_mode()
def export(module: LightningModule, histories: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return session vectors `(n, d)` and item vectors `(W, d)`.

    RecTools trains on users with two items at least, and knows no other items: their vectors are NaN, and so are those
    of sessions of none but them.

    Args:
        module: RecTools'.
        histories: of our item rows, `(n, L)`, -1 behind the last.
    """
    module.eval()
    network, preparator = module.torch_model, module.data_preparator
    table = network.item_model.get_all_embeddings()
    known = pd.Series(preparator.item_id_map.to_internal)
    numbers = {int(item): int(number) for item, number in known.items() if not isinstance(item, str)}
    lines = [[numbers[row] for row in history if row in numbers] for history in histories.tolist()]
    readable = np.flatnonzero([len(line) > 0 for line in lines])
    sessions = np.full((len(lines), table.shape[1]), np.nan, dtype=np.float32)
    for begin in range(0, len(readable), CHUNK):
        places = readable[begin : begin + CHUNK]
        chunk = [(lines[place], [1.0] * len(lines[place]), {}) for place in places]
        batch = {key: value.to(table.device) for key, value in preparator._collate_fn_recommend(chunk).items()}
        sessions[places] = network.encode_sessions(batch, table)[:, -1].cpu().numpy()
    items = np.full((max(numbers) + 1, table.shape[1]), np.nan, dtype=np.float32)
    items[list(numbers)] = table.cpu().numpy()[list(numbers.values())]
    return sessions, items


def ndcg_at_10(
    sessions: NDArray[np.float32],
    items: NDArray[np.float32],
    histories: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    exclude_history: bool,
) -> float:
    """Return NDCG@10 of the targets among all items that RecTools met."""
    gains = []
    for begin in range(0, len(targets), CHUNK):
        scores = np.nan_to_num(sessions[begin : begin + CHUNK] @ items.T, nan=-np.inf)
        rows = targets[begin : begin + CHUNK]
        inside = rows < len(items)
        own = np.where(inside, scores[np.arange(len(rows)), np.where(inside, rows, 0)], -np.inf)
        if exclude_history:
            for line, history in zip(scores, histories[begin : begin + CHUNK], strict=True):
                line[history[(history >= 0) & (history < len(items))]] = -np.inf
        ranks = 1 + (scores > own[:, None]).sum(axis=1)
        gains.append(np.where((ranks <= 10) & np.isfinite(own), 1 / np.log2(ranks + 1), 0.0))
    return float(np.concatenate(gains).mean())


def own_ndcg(model: TransformerModelBase[Any], histories: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
    """Return NDCG@10 of RecTools' own recommendations, without exclusions, to verify the export."""
    lengths = (histories >= 0).sum(axis=1)
    rows = histories[histories >= 0]
    users = np.repeat(np.arange(len(targets)), lengths)
    frame = pd.DataFrame(
        {
            Columns.User: users,
            Columns.Item: rows,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(rows)), unit="s"),
        }
    )
    shown = model.recommend(
        np.arange(len(targets)), Dataset.construct(frame), k=10, filter_viewed=False, on_unsupported_targets="ignore"
    )
    hits = shown[shown[Columns.Item].to_numpy() == targets[shown[Columns.User].to_numpy()]]
    return float((1 / np.log2(hits[Columns.Rank] + 1)).sum() / len(targets))


if __name__ == "__main__":
    serve_verb(epochs, train)
