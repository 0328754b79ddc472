"""SASRec: a causal transformer over the history. Source: Kang and McAuley 2018, arXiv 1808.09781."""

from typing import cast

from torch import Tensor, nn

from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec
from llmemb.sequence_models.transformer import PositionEmbedding, TransformerBlock


class SASRec(SequenceModel):
    """Output t is made of items 0..t. The paper's post-norm blocks are pre-norm here, which trains more steadily."""

    objective = "next_item"

    def __init__(self, spec: SequenceModelSpec) -> None:
        super().__init__(spec)
        self.embed = PositionEmbedding(spec.max_length, spec.dim, spec.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(spec.dim, spec.heads, spec.dim, spec.dropout, causal=True) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.dim)

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        x = self.embed(items)
        for block in self.blocks:
            x = block(x, present)
        out: Tensor = self.norm(x)
        return out

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        x = self.embed(items)
        for block in self.blocks[:-1]:
            x = block(x, present)
        out: Tensor = self.norm(cast(TransformerBlock, self.blocks[-1]).last(x, present))
        return out
