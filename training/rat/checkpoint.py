"""How far a training is, and its checkpoint as one safetensors file: no pickle, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from llmemb.files import write_text_atomically

PLATEAU = 1.1
"""A model has left its first plateau once its validation NDCG@10 is this many times that of the most popular items."""
PLATEAU_PATIENCE = 5
"""How many times as long patience is on the first plateau."""
FIRST_EPOCHS = 2
"""A training whose best epoch is one of these, and which patience ended, hardly learned anything."""


@dataclass(slots=True)
class Progress:
    """Where a training loop stands."""

    epoch: int = 0
    """Epochs that are finished."""
    best_epoch: int = 0
    best_score: float = -1.0
    """Validation NDCG@10 of the best epoch."""
    popular_score: float = 0.0
    """Validation NDCG@10 of the most popular items, which a model reaches that knows popularity alone."""

    @property
    def has_left_plateau(self) -> bool:
        """Whether the model knows more than popularity."""
        return self.best_score >= PLATEAU * self.popular_score

    def is_out_of_patience(self, patience: int) -> bool:
        """Whether `patience` epochs passed without a better score; on the plateau, `PLATEAU_PATIENCE` times as many."""
        times = 1 if self.has_left_plateau else PLATEAU_PATIENCE
        return self.epoch - self.best_epoch >= times * patience

    def fault(self, patience: int) -> str | None:
        """Say why a finished training cannot stand for its model, such as a baseline; None where it can."""
        if self.best_score <= self.popular_score:
            return (
                f"validation NDCG@10 {self.best_score:.4f} after {self.epoch} epochs is not above that of the most "
                f"popular items, {self.popular_score:.4f}"
            )
        if not self.has_left_plateau:
            return (
                f"validation NDCG@10 {self.best_score:.4f} after {self.epoch} epochs is less than "
                f"{PLATEAU - 1:.0%} above that of the most popular items, {self.popular_score:.4f}"
            )
        if self.best_epoch <= FIRST_EPOCHS and self.is_out_of_patience(patience):
            return f"the best of {self.epoch} epochs is epoch {self.best_epoch}"
        return None

    def warning(self, patience: int) -> str:
        """Return what a summary line says behind its other facts where the training has a fault, else nothing."""
        fault = self.fault(patience)
        return "" if fault is None else f"; WARNING: not converged: {fault}"

    def __str__(self) -> str:
        return f"validation NDCG@10 {self.best_score:.4f} (epoch {self.best_epoch} of {self.epoch})"


_PROGRESS = TypeAdapter(Progress)
_PROGRESS_FILE = "progress.json"


def write_progress(folder: Path, progress: Progress) -> None:
    """Write how a finished training went beside its recommender, as `progress.json`."""
    write_text_atomically(folder / _PROGRESS_FILE, _PROGRESS.dump_json(progress, indent=2).decode() + "\n")


def read_progress(folder: Path) -> Progress | None:
    """Read `progress.json`; None where the recommender was written without it."""
    path = folder / _PROGRESS_FILE
    return _PROGRESS.validate_json(path.read_bytes()) if path.is_file() else None


def save_checkpoint(
    path: Path, module: nn.Module, best: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress
) -> None:
    """Write the module's state, its best state so far, the optimiser's state and the progress."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    temporary = path.with_suffix(".tmp")
    save_file(
        {name: t.detach().clone() for name, t in tensors.items()}, temporary, {"progress": json.dumps(asdict(progress))}
    )
    temporary.replace(path)


def checkpoint_progress(path: Path) -> Progress:
    """Return the progress in a checkpoint that `save_checkpoint` wrote."""
    with safe_open(path, framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def load_checkpoint(path: Path, module: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], Progress]:
    """Restore what `save_checkpoint` wrote; return the best state and the progress."""
    module_state: dict[str, Tensor] = {}
    best: dict[str, Tensor] = {}
    optimizer_state: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - this handle is no mapping
            tensor = file.get_tensor(name)
            kind, _, rest = name.partition(".")
            if kind == "module":
                module_state[rest] = tensor
            elif kind == "best":
                best[rest] = tensor
            else:
                index, _, field = rest.partition(".")
                optimizer_state.setdefault(int(index), {})[field] = tensor
        progress = Progress(**json.loads(file.metadata()["progress"]))
    module.load_state_dict(module_state)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": optimizer_state})
    return best, progress
