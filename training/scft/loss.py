"""The contrastive losses of SCFT over a whole batch, in float32.

`n` items of the batch, `P` steps of its histories, `h` the LLM's width, `p` the width of the space of the cosines.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmemb.scoring.projection import Reduction
from training.scft.batches import Batch, NextPairs


class ContrastiveLoss(nn.Module):
    """The mean loss over the steps of the histories, that over the pairs of views, or their sum.

    Args:
        temperature: tau, by which cosines are divided.
        whitening: takes the cosines in its space, `(h, p)`: an LLM's raw embeddings all lie in one narrow cone, where
            their cosines tell little and pass little gradient on. None: cosines of the raw embeddings.

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
        """Return the loss of the raw embeddings of a batch's views, and then of its second views, `(n or 2 n, h)`."""
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
    """Return the mean cross-entropy of the item that was taken among the batch's.

    A query is the weighted mean of unit vectors, and keeps its length: the less the items of a history have to do with
    each other, the flatter its softmax. Served as the semantic term, it is the same mean.

    Args:
        units: unit vectors of the batch's items, `(n, p)`.
        pairs: of the batch.
        temperature: tau.
    """
    queries = torch.from_numpy(pairs.weights).to(units.device) @ units
    scores = (queries @ units.T) / temperature
    scores = scores.masked_fill(torch.from_numpy(pairs.masked).to(units.device), -torch.inf)
    return functional.cross_entropy(scores, torch.from_numpy(pairs.positives).to(units.device))


def views_loss(first: Tensor, second: Tensor, alike: Tensor, temperature: float) -> Tensor:
    """Return the symmetric InfoNCE of two unit vectors of each item, both `(n, p)`; `alike` items do not count."""
    scores = ((first @ second.T) / temperature).masked_fill(alike.to(first.device), -torch.inf)
    own = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2
