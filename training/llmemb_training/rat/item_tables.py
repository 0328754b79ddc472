"""Trainable item tables: free vectors (vanilla), and embeddings adapted from the LLM's.

`W` warm items (rows 0..W-1), `p` reduced width, `d` the recommender's width.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from llmemb.scoring.item_space import Scoring
from llmemb_training.config.sections import RatConfig

Array = NDArray[np.float32]


class ItemTable(nn.Module, ABC):
    """Embeddings of the warm items.

    Args:
        scoring: `cosine` gives every embedding unit length.
    """

    def __init__(self, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring

    def forward(self) -> Tensor:
        """Return the table `(W, d)`; in training mode, with dropout."""
        table = self.unscaled()
        return functional.normalize(table, dim=-1) if self.scoring == "cosine" else table

    @abstractmethod
    def unscaled(self) -> Tensor:
        """Return the table before it is scaled to unit length."""


class IdTable(ItemTable):
    """One free vector for each item, as in a vanilla sequence model.

    Args:
        num_warm: W.
        dim: d.
        initial: initial vectors `(W, d)`; None: random.
        scoring: see `ItemTable`.
    """

    def __init__(self, num_warm: int, dim: int, initial: Array | None = None, scoring: Scoring = "dot") -> None:
        super().__init__(scoring)
        drawn = torch.randn(num_warm, dim) * 0.02
        self.embedding = nn.Parameter(drawn if initial is None else torch.from_numpy(initial.copy()))

    def unscaled(self) -> Tensor:
        return self.embedding


class AdaptedTable(ItemTable):
    """The adapter's output for the reduced LLM embeddings, plus an optional collaborative residual.

    The adapter is one or two linear layers with no activation between them.

    Args:
        reduced: `(W, p)` float32.
        train_counts: training interactions of each warm item, `(W,)`; they decide which items have a residual.
        config: adapter and residual options.

    Source: LLMEmb, "Recommendation adaptation training", adapter; the residual is ours, after AlphaFuse (SIGIR 2025).
    """

    def __init__(self, reduced: Array, train_counts: NDArray[np.int64], config: RatConfig) -> None:
        super().__init__(config.scoring)
        width, dim, mode = reduced.shape[1], config.model.dim, config.residual.mode
        frozen = torch.from_numpy(reduced)
        self.frozen: Tensor
        self.register_buffer("frozen", frozen, persistent=False)
        self.reduced = nn.Parameter(frozen.clone()) if config.table == "trained" else None
        hidden = max(1, width // 2)
        self.adapter = nn.Sequential(
            *(
                [nn.Linear(width, dim)]
                if config.adapter_layers == 1
                else [nn.Linear(width, hidden), nn.Linear(hidden, dim)]
            )
        )
        self.residual = nn.Parameter(torch.zeros(len(reduced), dim)) if mode != "none" else None
        least = config.residual.min_interactions if mode == "popular" else 1
        self.has_residual: Tensor
        self.register_buffer("has_residual", torch.from_numpy(train_counts >= least)[:, None], persistent=False)
        self.residual_dropout = config.residual.dropout

    def semantic(self, rows: Tensor | None = None) -> Tensor:
        """Return the adapted embeddings without the residual: of all items, `(W, d)`, or of some rows."""
        reduced = self.frozen if self.reduced is None else self.reduced
        out: Tensor = self.adapter(reduced if rows is None else reduced[rows])
        return out

    def unscaled(self) -> Tensor:
        table = self.semantic()
        if self.residual is None:
            return table
        kept = self.has_residual
        if self.training:
            # Drop the residual of whole items and do not rescale: without it, an item must look like a new item.
            kept = kept & (torch.rand(len(table), 1, device=table.device) >= self.residual_dropout)
        return table + self.residual * kept

    @torch.inference_mode()
    def learned_residual(self) -> Array | None:
        """Return what is added to the adapter's output for the frozen embeddings, `(W, d)`; None if nothing is."""
        if self.residual is None and self.reduced is None:
            return None
        self.eval()
        added: Array = (self.unscaled() - self.adapter(self.frozen)).cpu().numpy()
        return added

    def layers(self) -> list[tuple[Array, Array]]:
        """Return the adapter's layers as `(weight (in, out), bias (out,))`, in the order they run."""
        linears = [layer for layer in self.adapter if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().cpu().numpy().T, layer.bias.detach().cpu().numpy()) for layer in linears]
