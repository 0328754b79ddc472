"""Training progress, and checkpoints in one safetensors file, without pickle and written atomically."""

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
"""The initial plateau ends when validation NDCG@10 reaches this multiple of the NDCG@10 of the most popular items."""
PLATEAU_PATIENCE = 5
"""Factor by which early stopping is more patient on the initial plateau."""
FIRST_EPOCHS = 2
"""If early stopping ends a training whose best epoch is at most this one, the model has hardly learned anything."""


@dataclass(slots=True)
class Progress:
    """Progress of a training loop."""

    epoch: int = 0
    """Number of completed epochs."""
    best_epoch: int = 0
    best_score: float = -1.0
    """Validation NDCG@10 of the best epoch."""
    popular_score: float = 0.0
    """Validation NDCG@10 of the most popular items: what a model reaches that has learned popularity only."""

    @property
    def has_left_plateau(self) -> bool:
        """Whether the model has learned more than popularity."""
        return self.best_score >= PLATEAU * self.popular_score

    def is_out_of_patience(self, patience: int) -> bool:
        """Whether the score has not improved for `patience` epochs, or `PLATEAU_PATIENCE` times that on the plateau."""
        times = 1 if self.has_left_plateau else PLATEAU_PATIENCE
        return self.epoch - self.best_epoch >= times * patience

    def fault(self, patience: int) -> str | None:
        """Return why a finished training did not converge, so that it must not serve as a baseline; None if it did."""
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
        """Return the warning to append to a summary line; empty if the training converged."""
        fault = self.fault(patience)
        return "" if fault is None else f"; WARNING: not converged: {fault}"

    def __str__(self) -> str:
        return f"validation NDCG@10 {self.best_score:.4f} (epoch {self.best_epoch} of {self.epoch})"


_PROGRESS = TypeAdapter(Progress)
_PROGRESS_FILE = "progress.json"


def write_progress(folder: Path, progress: Progress) -> None:
    """Write the progress of a finished training to `progress.json` in the recommender's folder."""
    write_text_atomically(folder / _PROGRESS_FILE, _PROGRESS.dump_json(progress, indent=2).decode() + "\n")


def read_progress(folder: Path) -> Progress | None:
    """Read `progress.json`; None if the folder has none."""
    path = folder / _PROGRESS_FILE
    return _PROGRESS.validate_json(path.read_bytes()) if path.is_file() else None


def save_checkpoint(
    path: Path, module: nn.Module, best: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress
) -> None:
    """Write the module's state, its best state so far, the optimiser state and the progress."""
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
    """Return the progress stored in a checkpoint."""
    with safe_open(path, framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def load_checkpoint(path: Path, module: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], Progress]:
    """Restore the module and the optimiser from a checkpoint; return the best state and the progress."""
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
