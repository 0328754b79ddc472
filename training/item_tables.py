"""Item tables that are trained: the vanilla one of ids, and the one adapted from the LLM's embeddings.

`W` warm items (rows 0..W-1), `N` all items, `p` reduced width, `d` the recommender's width.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class ItemTable(nn.Module, ABC):
    """Embeddings of the warm items."""

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the table `(W, d)` of this step; in training it may differ from step to step by dropout."""


class IdTable(ItemTable):
    """One free vector for each item, as a vanilla sequence model has it."""

    def __init__(self, num_warm: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(num_warm, dim) * 0.02)

    def forward(self) -> Tensor:
        return self.embedding


class AdaptedTable(ItemTable):
    """Frozen reduced LLM embeddings through the adapter, plus an optional collaborative residual.

    The adapter is two linear layers with no activation between them.

    Args:
        reduced: `(W, p)` float32, frozen.
        dim: d.
        with_residual: whether each item also has a free vector, zero at first.
        residual_dropout: share of the items that lack theirs in a training step.

    Source: LLMEmb, "Recommendation adaptation training", adapter; the residual is ours, after AlphaFuse (SIGIR 2025).
    """

    def __init__(self, reduced: NDArray[np.float32], dim: int, *, with_residual: bool, residual_dropout: float) -> None:
        super().__init__()
        num_warm, width = reduced.shape
        self.reduced: Tensor
        self.register_buffer("reduced", torch.from_numpy(reduced), persistent=False)
        self.adapter = nn.Sequential(nn.Linear(width, width // 2), nn.Linear(width // 2, dim))
        self.residual = nn.Parameter(torch.zeros(num_warm, dim)) if with_residual else None
        self.residual_dropout = residual_dropout

    def semantic(self, rows: Tensor | None = None) -> Tensor:
        """Return the adapted embeddings without the residual, of all items `(W, d)` or of some rows."""
        out: Tensor = self.adapter(self.reduced if rows is None else self.reduced[rows])
        return out

    def forward(self) -> Tensor:
        semantic = self.semantic()
        if self.residual is None:
            return semantic
        if not self.training:
            return semantic + self.residual
        # Whole items at once, and not scaled up: what is left must be the item embedding of a new item.
        kept = torch.rand(len(semantic), 1, device=semantic.device) >= self.residual_dropout
        return semantic + self.residual * kept

    def layers(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return the adapter's layers as `(weight (in, out), bias (out,))`, in the order they run."""
        linears = [layer for layer in self.adapter if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().cpu().numpy().T, layer.bias.detach().cpu().numpy()) for layer in linears]
