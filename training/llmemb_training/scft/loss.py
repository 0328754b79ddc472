"""The contrastive losses of SCFT over a whole batch, in float32.

`n` items of the batch, `P` steps of its histories, `h` the LLM's width, `p` the width of the whitened space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmemb.scoring.projection import Reduction
from llmemb_training.scft.batches import Batch, NextPairs


class ContrastiveLoss(nn.Module):
    """The mean loss over history steps, the mean loss over pairs of views, or the sum of both.

    Args:
        temperature: tau, the divisor of the cosines.
        whitening: maps embeddings to the whitened space of the cosines, `(h, p)`. The raw embeddings of an LLM lie in a
            narrow cone, where cosines differ little and gradients are small. None: cosines of the raw embeddings.

    Source: LLMEmb, "Supervised contrastive fine-tuning", for the views; steps of histories and the whitened space are
    ours.
    """

    def __init__(self, temperature: float, whitening: Reduction | None) -> None:
        super().__init__()
        self._temperature = temperature
        self.mean: Tensor | None
        self.components: Tensor | None
        self.register_buffer("mean", None if whitening is None else torch.tensor(whitening.mean).float())
        self.register_buffer("components", None if whitening is None else torch.tensor(whitening.components).float())

    def forward(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch from the raw embeddings of its views, then its second views, `(n or 2 n, h)`."""
        if self.mean is not None and self.components is not None:
            embeddings = (embeddings - self.mean) @ self.components
        units = functional.normalize(embeddings, dim=-1)
        views, second_views = units[: len(batch.views)], units[len(batch.views) :]
        loss = units.new_zeros(())
        if batch.next_pairs is not None:
            loss = loss + next_loss(views, batch.next_pairs, self._temperature)
        if batch.second_views:
            loss = loss + views_loss(views, second_views, torch.from_numpy(batch.alike), self._temperature)
        return loss


def next_loss(units: Tensor, pairs: NextPairs, temperature: float) -> Tensor:
    """Return the mean cross-entropy of the next item among the items of the batch.

    A query is a weighted mean of unit vectors that is not rescaled: the less similar the items of a history are, the
    flatter its softmax. The semantic term in serving uses the same mean.

    Args:
        units: unit vectors of the batch's items, `(n, p)`.
        pairs: the positive pairs of the batch.
        temperature: tau.
    """
    queries = torch.from_numpy(pairs.weights).to(units.device) @ units
    scores = (queries @ units.T) / temperature
    scores = scores.masked_fill(torch.from_numpy(pairs.masked).to(units.device), -torch.inf)
    return functional.cross_entropy(scores, torch.from_numpy(pairs.positives).to(units.device))


def views_loss(first: Tensor, second: Tensor, alike: Tensor, temperature: float) -> Tensor:
    """Return the symmetric InfoNCE loss of two unit vectors per item, `(n, p)`; `alike` items are not negatives."""
    scores = ((first @ second.T) / temperature).masked_fill(alike.to(first.device), -torch.inf)
    own = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2
