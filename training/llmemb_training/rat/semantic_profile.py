"""The semantic term in training: the sequence model learns what the item texts do not already predict.

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
from llmemb_training.rat.batches import Batch


class SemanticProfile(nn.Module):
    """A semantic term with a fixed or learned gamma.

    Args:
        term: the semantic term, with the initial gamma.
        vectors: the warm items' semantic profile vectors, `(W, q)`.
        learned: whether gamma is learned.
    """

    def __init__(self, term: SemanticTerm, vectors: NDArray[np.float32], *, learned: bool) -> None:
        super().__init__()
        self._term = term
        self.vectors: Tensor
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        # Learning the logarithm keeps gamma positive and makes updates proportional to it.
        self.log_gamma = nn.Parameter(torch.tensor(math.log(term.gamma)), requires_grad=learned)

    def term(self) -> SemanticTerm:
        """Return the term with the current gamma."""
        if not self.log_gamma.requires_grad:
            return self._term
        return replace(self._term, gamma=math.exp(self.log_gamma.item()))

    def forward(self, batch: Batch) -> Tensor:
        """Return the query `(M, q)` at each position with a target; see `SemanticTerm.query`.

        A profile is a weighted mean of the items that the prediction may see: for next-item models those up to and
        including the position, for masked-item models the unmasked ones before it. It is zero if there are none.
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
