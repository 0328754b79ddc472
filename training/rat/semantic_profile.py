"""The semantic term in training: the sequence model learns beside it what the text does not say already.

`B` histories, `L` positions, `M` predictions of a batch, `W` warm items, `q` width of the whitened space.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import PADDING
from training.rat.batches import Batch


class SemanticProfile(nn.Module):
    """A semantic term whose gamma may be learned.

    Args:
        term: with the gamma to start from.
        vectors: the warm items' semantic profile vectors, `(W, q)`.
        learned: whether gamma is trained.
    """

    def __init__(self, term: SemanticTerm, vectors: NDArray[np.float32], *, learned: bool) -> None:
        super().__init__()
        self._term = term
        self.vectors: Tensor
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        # Its logarithm: gamma stays positive, and a step changes it by a share of itself.
        self.log_gamma = nn.Parameter(torch.tensor(math.log(term.gamma)), requires_grad=learned)

    def term(self) -> SemanticTerm:
        """Return the term with gamma as it is now."""
        if not self.log_gamma.requires_grad:
            return self._term
        return replace(self._term, gamma=math.exp(self.log_gamma.item()))

    def forward(self, batch: Batch) -> Tensor:
        """Return the query `(M, q)` at each position that predicts something; see `SemanticTerm.query`.

        A profile is made of the items that its prediction may see: up to the position itself for next items, and
        before it, but for the masked ones, for masked items; of none it is zero.
        """
        length = batch.inputs.shape[1]
        positions = torch.arange(length, device=batch.inputs.device)
        first = 0 if batch.hidden is None else 1
        age = positions[:, None] - positions[None, :] - first  # (L, L)
        recent = (age >= 0) & (age < self._term.history)
        weights = torch.where(recent, self._term.decay ** age.clamp_min(0).float(), 0.0)
        visible = batch.inputs != PADDING if batch.hidden is None else (batch.inputs != PADDING) & ~batch.hidden
        rows, places = (batch.targets != PADDING).nonzero(as_tuple=True)
        chosen = weights[places] * visible[rows]  # (M, L)
        chosen = chosen / chosen.sum(dim=1, keepdim=True).clamp_min(1e-12)
        items = self.vectors[batch.inputs.clamp_min(0)]  # (B, L, q)
        spread = chosen.new_zeros(*batch.inputs.shape, length)
        spread[rows, places] = chosen
        profiles = (spread @ items)[rows, places]
        return self.log_gamma.exp() * profiles
