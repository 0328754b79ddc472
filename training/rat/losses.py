"""Losses: softmax, over all items in the memory of a few rows of scores, or sampled; BCE, gBCE, alignment."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.config.sections import AlignmentConfig, RatConfig

CHUNK_SCORES = 2**20
"""Scores that are held together: 4 MiB, which a processor's cache keeps from one pass over them to the next."""
LEAST_ROWS = 64
"""Predictions of a chunk at least, so that the products stay products of matrices."""


class _FullSoftmax(torch.autograd.Function):
    """Both gradients are known as soon as the scores are, so they are made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, table: Tensor, targets: Tensor, adjustment: Tensor | None) -> Tensor:
        rows = max(LEAST_ROWS, CHUNK_SCORES // len(table))
        # One piece of memory for all chunks of all batches: pieces of many sizes leave holes that nothing fits into.
        held = outputs.new_empty(rows, len(table))
        of_outputs, of_table = torch.empty_like(outputs), torch.zeros_like(table)
        total = outputs.new_zeros(())
        for start in range(0, len(outputs), rows):
            chunk = outputs[start : start + rows]
            own = targets[start : start + rows, None]
            scores = torch.mm(chunk, table.T, out=held[: len(chunk)])
            if adjustment is not None:
                scores += adjustment
            highest = scores.amax(dim=1, keepdim=True)
            own_score = scores.gather(1, own)
            odds = scores.sub_(highest).exp_()
            normaliser = odds.sum(dim=1, keepdim=True)
            total += (normaliser.log() + highest - own_score).sum()
            of_scores = odds.div_(normaliser)
            of_scores.scatter_add_(1, own, of_scores.new_full(own.shape, -1.0))
            torch.mm(of_scores, table, out=of_outputs[start : start + rows])
            of_table.addmm_(of_scores.T, chunk)
        ctx.save_for_backward(of_outputs.div_(len(outputs)), of_table.div_(len(outputs)))
        return total / len(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_outputs, of_table = ctx.saved_tensors
        return of_outputs.mul_(gradients[0]), of_table.mul_(gradients[0]), None, None


def softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor, adjustment: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over all items; it can be differentiated once.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.
        adjustment: added to every prediction's scores of the items, `(W,)`; no gradient is made for it.

    Source: Klenitskiy and Vasilev 2023, arXiv 2309.07602.
    """
    loss: Tensor = _FullSoftmax.apply(outputs, table, targets, adjustment)  # type: ignore[no-untyped-call]
    return loss


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs `(M, d)`, table `(W, d)`, item rows of the targets `(M,)` -> the mean loss."""


def build_loss(config: RatConfig, adjustment: Tensor | None = None) -> Loss:
    """Return the loss that the configuration names.

    Args:
        config: names it.
        adjustment: of the softmax, see `softmax_loss`; other losses take none.
    """
    if config.loss == "softmax":
        return partial(softmax_loss, adjustment=adjustment)
    if config.loss == "bce":
        return bce_loss

    def sampled(outputs: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        negatives = torch.randint(len(table), (config.num_negatives,), device=targets.device)
        if config.loss == "sampled_softmax":
            return sampled_softmax_loss(outputs, table, targets, negatives)
        return gbce_loss(outputs, table, targets, negatives, config.gbce_t)

    return sampled


def logit_adjustment(train_counts: NDArray[np.int64], tau: float) -> Tensor:
    """Return tau times the logarithm of each item's share of the training interactions, `(W,)` float32.

    A softmax over scores that are raised by it learns what is left of them: the odds of an item over those that its
    popularity gives it alone. One is added to each count, since an item may have targets alone.

    Args:
        train_counts: `(W,)`.
        tau: 0 adjusts nothing, 1 by the whole popularity.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", arXiv 2007.07314, equation 10.
    """
    counts = train_counts + 1.0
    return torch.from_numpy(np.asarray(tau * np.log(counts / counts.sum()), dtype=np.float32))


def sampled_softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Mean cross-entropy over the target and k negatives, drawn uniformly, which stand for all other items.

    Each negative's logit is raised by `log(W / k)`, so that the sum over them estimates the sum over all items but
    the target; a negative that is the target itself does not count. Other arguments as in `softmax_loss`.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.
        negatives: item rows `(k,)`, for all predictions of the batch.

    Source: Jean et al. 2015, arXiv 1412.2007; shared negatives: Klenitskiy and Vasilev 2023, arXiv 2309.07602.
    """
    positive, negative = _sampled_logits(outputs, table, targets, negatives)
    negative = negative + math.log(len(table) / len(negatives))
    own = torch.zeros_like(targets)
    return functional.cross_entropy(torch.cat([positive.unsqueeze(1), negative], dim=1), own)


def gbce_loss(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, t: float) -> Tensor:
    """Generalised binary cross-entropy: the target's probability to the power of beta, against k negatives.

    `beta = a (t (1 - 1/a) + 1/a)` with the sampling rate `a = k / (W - 1)`; t = 0 is plain binary cross-entropy.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.
        negatives: item rows `(k,)`, for all predictions of the batch; one that is the target itself does not count.
        t: calibration, 0 to 1.

    Source: Petrov and Macdonald 2023 (gSASRec), arXiv 2308.07192, equations 5 and 10.
    """
    rate = min(1.0, len(negatives) / max(1, len(table) - 1))
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    positive, negative = _sampled_logits(outputs, table, targets, negatives)
    return (beta * functional.softplus(-positive) + functional.softplus(negative).sum(dim=1)).mean()


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


def alignment_loss(adapted: Tensor, collaborative: Tensor, config: AlignmentConfig) -> Tensor:
    """Contrastive loss that pulls each item's adapted embedding to its own collaborative one, in both directions.

    Cosine logits over the temperature, in float32. `infonce`: an item's target is its own vector alone. `soft`: the
    targets are the softmax of the items' similarities within each space, averaged, over the same temperature, so that
    items that are alike are no negatives of each other; no gradient runs through the targets.

    Args:
        adapted: `(n, d)`, of n different items.
        collaborative: `(n, d)`, of the same items.
        config: form and temperature.

    Source: LLMEmb, "Recommendation adaptation training", collaborative alignment; soft targets as in its code.
    """
    first = functional.normalize(adapted.float(), dim=-1)
    second = functional.normalize(collaborative.float(), dim=-1)
    logits = first @ second.T / config.temperature
    if config.form == "soft":
        alike = (first @ first.T + second @ second.T).detach() / (2 * config.temperature)
        targets = alike.softmax(dim=-1)  # the matrix is symmetric, so the same targets hold for both directions
    else:
        targets = torch.eye(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


def _sampled_logits(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the targets `(M,)` and of the negatives `(M, k)`, -inf where one is the target."""
    positive = (outputs * table[targets]).sum(dim=-1)
    negative = outputs @ table[negatives].T
    return positive, negative.masked_fill(negatives == targets.unsqueeze(1), -math.inf)
