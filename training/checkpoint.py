"""Checkpoints of a training loop as one safetensors file: no pickle, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(slots=True)
class Progress:
    """Where a training loop stands."""

    epoch: int = 0
    """Epochs that are finished."""
    best_epoch: int = 0
    best_score: float = -1.0
    """Validation NDCG@10 of the best epoch."""

    def __str__(self) -> str:
        return f"validation NDCG@10 {self.best_score:.4f} (epoch {self.best_epoch} of {self.epoch})"


def save_checkpoint(
    path: Path, module: nn.Module, best: Mapping[str, Tensor], optimizer: Optimizer, progress: Progress
) -> None:
    """Write the module's state, its best state so far, the optimiser's state and the progress."""
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    fields = {"epoch": progress.epoch, "best_epoch": progress.best_epoch, "best_score": progress.best_score}
    temporary = path.with_suffix(".tmp")
    save_file({name: t.detach().clone() for name, t in tensors.items()}, temporary, {"progress": json.dumps(fields)})
    temporary.replace(path)


def read_progress(path: Path) -> Progress:
    """Return the progress that `save_checkpoint` wrote."""
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
