"""Losses of recommendation training.

`M` predictions of a batch, `W` items in the table, `d` width.
"""

import torch
from torch import Tensor
from torch.nn import functional


def softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over all items.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.

    Source: Klenitskiy and Vasilev 2023, arXiv 2309.07602.
    """
    return functional.cross_entropy(outputs @ table.T, targets)


def bce_loss(outputs: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of the target and of one negative drawn uniformly from the other items.

    Arguments as in `softmax_loss`.

    Source: Kang and McAuley 2018 (SASRec), section III-E; there the negative avoids the user's whole history, here
    the target alone.
    """
    draws = torch.randint_like(targets, len(table) - 1)
    negatives = draws + (draws >= targets)
    positive = (outputs * table[targets]).sum(dim=-1)
    negative = (outputs * table[negatives]).sum(dim=-1)
    return functional.softplus(-positive).mean() + functional.softplus(negative).mean()


def alignment_loss(adapted: Tensor, collaborative: Tensor, temperature: float) -> Tensor:
    """Contrastive loss that pulls each item's adapted embedding to its own collaborative one, in both directions.

    Cosine logits over `temperature`, in float32.

    Args:
        adapted: `(n, d)`, of n different items.
        collaborative: `(n, d)`, of the same items.
        temperature: tau.

    Source: LLMEmb, "Recommendation adaptation training", collaborative alignment.
    """
    first = functional.normalize(adapted.float(), dim=-1)
    second = functional.normalize(collaborative.float(), dim=-1)
    logits = first @ second.T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
