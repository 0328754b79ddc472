"""BERT4Rec: a bidirectional transformer that fills masked positions. Source: Sun et al. 2019, arXiv 1904.06690."""

from typing import cast

import torch
from torch import Tensor, nn

from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec
from llmemb.sequence_models.transformer import PositionEmbedding, TransformerBlock


class BERT4Rec(SequenceModel):
    """The output at a mask is made of the whole history; a session vector is the output at a mask put at its end.

    Unlike the paper's, positions are counted from the last: the mask that is served is at position 0 of every history,
    however long, and the latest item at position 1. The output is normalised and goes through no further layer.
    """

    objective = "masked_item"

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__(spec)
        # One position more than the history: the mask at its end.
        self.embed = PositionEmbedding(spec.max_length + 1, spec.dim, spec.dropout)
        self.mask = nn.Parameter(torch.randn(spec.dim) * 0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(spec.dim, spec.heads, 4 * spec.dim, spec.dropout, causal=False) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.dim)

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        x = self._embed(items, present)
        for block in self.blocks:
            x = block(x, present)
        out: Tensor = self.norm(x)
        return out

    def hide(self, items: Tensor, hidden: Tensor) -> Tensor:
        return torch.where(hidden.unsqueeze(-1), self.mask, items)

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        B, _, d = items.shape
        items = torch.cat([items, items.new_zeros(B, 1, d)], dim=1)
        end = torch.arange(items.shape[1], device=items.device) == present.sum(dim=1, keepdim=True)  # (B, L + 1)
        present = torch.cat([present, present.new_zeros(B, 1)], dim=1) | end
        x = self._embed(self.hide(items, end), present)
        for block in self.blocks[:-1]:
            x = block(x, present)
        out: Tensor = self.norm(cast(TransformerBlock, self.blocks[-1]).last(x, present))
        return out

    def _embed(self, items: Tensor, present: Tensor) -> Tensor:
        steps = torch.arange(items.shape[1], device=items.device)
        # What the padding gets is never used.
        from_last = (present.sum(dim=1, keepdim=True) - 1 - steps).clamp_min(0)  # (B, L)
        out: Tensor = self.embed(items, from_last)
        return out
