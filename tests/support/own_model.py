"""A sequence model that a package of somebody else's brings, installed into a folder."""

from pathlib import Path

MODULE = "strangers_model"
NAME = "last_two"
CODE = '''\
"""The newest item and the one before it, through one matrix each."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from llmemb.sequence_models import SequenceModel, SequenceModelSpec
from llmemb.sequence_models.sequence_model import Objective, last_present


class LastTwo(SequenceModel):
    objective: ClassVar[Objective] = "next_item"

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__(spec)
        self.newest = nn.Linear(spec.dim, spec.dim)
        self.before = nn.Linear(spec.dim, spec.dim, bias=False)

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        items = torch.where(present.unsqueeze(-1), items, 0.0)
        before = torch.cat([torch.zeros_like(items[:, :1]), items[:, :-1]], dim=1)
        return self.newest(items) + self.before(before)

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        return last_present(self(items, present), present)


NOT_A_MODEL = 3
'''


def install(folder: Path, **names: str) -> Path:
    """Write the module and the `*.dist-info` that an installer would leave; `folder` belongs on `sys.path`.

    Args:
        folder: made where it does not exist.
        names: entry-point name -> `module:attribute`; empty: the model by its name.

    Returns:
        `folder`.
    """
    described = folder / f"{MODULE}-1.0.dist-info"
    described.mkdir(parents=True)
    (folder / f"{MODULE}.py").write_text(CODE, encoding="utf-8")
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in (names or {NAME: f"{MODULE}:LastTwo"}).items()]
    text = "\n".join(["[llmemb.sequence_models]", *lines, ""])
    (described / "entry_points.txt").write_text(text, encoding="utf-8")
    return folder
