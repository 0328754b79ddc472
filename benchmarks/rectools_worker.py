"""Trains RecTools' SASRec one epoch a round, in RecTools' environment: `OPTIONS`, a JSON file, see `Options`."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet

from benchmarks.worker import Answer, serve

SEED = 42
PACKAGES = ("rectools", "torch", "pytorch-lightning")


class Options(TypedDict):
    """What is asked for."""

    windows: str
    """A `.npz` file: `rows` of all windows, one after the other, and the `lengths` of the windows."""
    model: dict[str, Any]
    """RecTools' own words."""


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


def prepare(options: Options) -> tuple[Answer, Callable[[], Answer]]:
    """Prepare for one epoch a round: every window is a user, so the targets are those of ours."""
    torch.manual_seed(SEED)
    with np.load(options["windows"]) as file:
        rows, lengths = file["rows"], file["lengths"]
    interactions = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: rows,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(rows)), unit="s"),
        }
    )
    dataset = Dataset.construct(interactions)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[EpochTimer()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    model = SASRecModel(
        **options["model"],
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
    )
    facts: Answer = {"targets": int((lengths - 1).sum()), "items": len(np.unique(rows))}
    facts |= {f"version {name}": version(name) for name in PACKAGES}

    def work() -> Answer:
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        # RecTools trains with a copy of the trainer.
        timer = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, EpochTimer))
        return {"seconds": timer.seconds, "cpu_seconds": timer.cpu_seconds, "loss": timer.loss}

    return facts, work


if __name__ == "__main__":
    given: Options = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    serve(lambda: prepare(given))
