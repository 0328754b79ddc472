"""The contrastive loss of SCFT over a whole batch, with gradients cached where it goes through the LLM by parts.

`B` pairs of this process, `G` those of all processes, `h` the LLM's width.
"""

from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn
from torch.distributed import is_available, is_initialized
from torch.nn import functional

from llmemb.projection import Reduction


class ContrastiveLoss(CachedLossMixin, nn.Module):  # type: ignore[misc]  # the library's types are not published
    """Symmetric InfoNCE by cosine over `temperature`, in float32, against the pairs of every process.

    Args:
        encoder: embeds both columns of a batch.
        temperature: tau.
        whitening: takes the cosines in its space, `(h, p)`: an LLM's raw embeddings all lie in one narrow cone, where
            their cosines tell little and pass little gradient on. None: cosines of the raw embeddings.
        mini_batch: pairs that go through the LLM at once; None: all, without a second forward pass.

    Source: LLMEmb, "Supervised contrastive fine-tuning"; the whitened space is ours;
    gradient caching: Gao et al. 2021, arXiv 2101.06983.
    """

    def __init__(
        self, encoder: SentenceTransformer, temperature: float, whitening: Reduction | None, mini_batch: int | None
    ) -> None:
        super().__init__()
        self.mean: Tensor | None
        self.components: Tensor | None
        mean, components = (None, None) if whitening is None else (whitening.mean, whitening.components)
        self.register_buffer("mean", None if mean is None else torch.tensor(mean, dtype=torch.float32))
        self.register_buffer(
            "components", None if components is None else torch.tensor(components, dtype=torch.float32)
        )
        self.model: nn.Module = encoder
        self.temperature = temperature
        self.mini_batch_size = mini_batch or 0
        self.uses_gradient_cache = mini_batch is not None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the mean loss of this process's pairs; `labels` are their identities, `(B, 4)`."""
        if self.uses_gradient_cache:
            cached: Tensor = CachedLossMixin.forward_cached(self, sentence_features, labels)
            return cached
        return self.calculate_loss([[self.model(part)["sentence_embedding"]] for part in sentence_features], labels)

    def calculate_loss(self, reps: list[list[Tensor]], labels: Tensor, *, with_backward: bool = False) -> Tensor:
        """Return the loss of embeddings that came in parts, both columns `(B, h)`; perhaps backpropagate it."""
        first, second = (self._whiten(torch.cat(parts)) for parts in reps)
        all_first, all_second, all_labels, start = first, second, labels, 0
        if is_available() and is_initialized():
            all_first, all_second = all_gather_with_grad(first), all_gather_with_grad(second)
            all_labels, start = all_gather(labels), get_rank() * len(first)
        own = torch.arange(start, start + len(first), device=first.device)
        logits = (cosines(first, all_second) / self.temperature, cosines(second, all_first) / self.temperature)
        masks = false_negatives(labels, all_labels, own)
        loss = torch.stack(
            [
                functional.cross_entropy(scores.masked_fill(mask, -torch.inf), own)
                for scores, mask in zip(logits, masks, strict=True)
            ]
        ).mean()
        if with_backward:
            loss.backward()
        return loss.detach() if with_backward else loss

    def _whiten(self, embeddings: Tensor) -> Tensor:
        """Map `(B, h)` to the space of the cosines, in float32 under any autocast."""
        if self.mean is None or self.components is None:
            return embeddings
        with torch.autocast(embeddings.device.type, enabled=False):
            return (embeddings.float() - self.mean.to(embeddings.device)) @ self.components.to(embeddings.device)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines of `(n, h)` with `(m, h)`, `(n, m)`, in float32 under any autocast."""
    with torch.autocast(first.device.type, enabled=False):
        return functional.normalize(first.float(), dim=-1) @ functional.normalize(second.float(), dim=-1).T


def false_negatives(labels: Tensor, all_labels: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return which candidates a pair must not be pushed away from, `(B, G)`, for both directions.

    For the first of a pair, these are the seconds that show its own item or its partner's, or read the same as either;
    for the second likewise among the firsts. An item that stands near another in histories stays its negative:
    negatives drawn from all pairs make the cosine tell how much *more* often than by chance two items stand together,
    and in a dense catalogue every popular item stands near almost all.

    Args:
        labels: identities of this process's pairs, `(B, 4)`, see `Pair.identity`.
        all_labels: of all processes' pairs, `(G, 4)`.
        own: the place of each pair in `all_labels`, `(B,)`: its positive, never masked.
    """
    masks = []
    # Columns of `all_labels` that show the candidates' items and texts: the seconds, then the firsts.
    for item, text in ((1, 3), (0, 2)):
        mask = torch.zeros(len(labels), len(all_labels), dtype=torch.bool, device=labels.device)
        for column, candidates in ((0, item), (1, item), (2, text), (3, text)):
            mask |= labels[:, column, None] == all_labels[None, :, candidates]
        mask[torch.arange(len(labels), device=labels.device), own] = False
        masks.append(mask)
    return masks[0], masks[1]
