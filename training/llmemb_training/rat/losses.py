"""Losses: full softmax in bounded memory, sampled softmax, BCE, gBCE, and the alignment loss."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from llmemb_training.config.sections import AlignmentConfig, RatConfig

CHUNK_SCORES = 2**20
"""Number of scores in memory at a time: 4 MiB, which stay in the processor's cache between passes."""
LEAST_ROWS = 64
"""Minimum number of predictions in a chunk, so that matrix products stay efficient."""


class _FullSoftmax(torch.autograd.Function):
    """Full softmax that computes both gradients in the forward pass, chunk by chunk, while the scores are in memory."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, table: Tensor, targets: Tensor, adjustment: Tensor | None) -> Tensor:
        rows = max(LEAST_ROWS, CHUNK_SCORES // len(table))
        # One buffer for all chunks of all batches: buffers of many sizes would fragment the memory.
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
    """Mean cross-entropy over all items; differentiable once.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.
        adjustment: added to the scores of the items in each prediction, `(W,)`; has no gradient.

    Source: Klenitskiy and Vasilev 2023, arXiv 2309.07602.
    """
    loss: Tensor = _FullSoftmax.apply(outputs, table, targets, adjustment)  # type: ignore[no-untyped-call]
    return loss


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs `(M, d)`, table `(W, d)`, item rows of the targets `(M,)` -> the mean loss."""


def build_loss(config: RatConfig, adjustment: Tensor | None = None) -> Loss:
    """Return the loss that the configuration names.

    Args:
        config: names the loss.
        adjustment: see `softmax_loss`; the other losses ignore it.
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

    With this term added to the scores, the softmax learns how much more likely an item is than its popularity alone
    predicts. One is added to each count, since an item may occur as a target only.

    Args:
        train_counts: `(W,)`.
        tau: strength: 0 is no adjustment, 1 adjusts for the whole popularity.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", arXiv 2007.07314, equation 10.
    """
    counts = train_counts + 1.0
    return torch.from_numpy(np.asarray(tau * np.log(counts / counts.sum()), dtype=np.float32))


def sampled_softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Mean cross-entropy over the target and k negatives, drawn uniformly, in place of all other items.

    `log(W / k)` is added to each negative's logit, so that the sum over the negatives estimates the sum over all items
    except the target. A negative equal to the target is ignored.

    Args:
        outputs: `(M, d)`.
        table: `(W, d)`.
        targets: item rows `(M,)`.
        negatives: item rows `(k,)`, shared by all predictions of the batch.

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
        negatives: item rows `(k,)`, shared by all predictions of the batch; one equal to the target is ignored.
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

    Source: Kang and McAuley 2018 (SASRec), section III-E; there the negative is not in the user's history, here it
    only differs from the target.
    """
    draws = torch.randint_like(targets, len(table) - 1)
    negatives = draws + (draws >= targets)
    positive = (outputs * table[targets]).sum(dim=-1)
    negative = (outputs * table[negatives]).sum(dim=-1)
    return functional.softplus(-positive).mean() + functional.softplus(negative).mean()


def alignment_loss(adapted: Tensor, collaborative: Tensor, config: AlignmentConfig) -> Tensor:
    """Symmetric contrastive loss between each item's adapted and its collaborative embedding.

    The logits are cosines divided by the temperature, in float32. `infonce`: the only target of an item is its own
    vector. `soft`: the targets are the softmax of the items' similarities, averaged over both spaces and divided by the
    same temperature, so that similar items are not negatives of each other; the targets have no gradient.

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
        targets = alike.softmax(dim=-1)  # symmetric, so both directions have the same targets
    else:
        targets = torch.eye(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


def _sampled_logits(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the targets `(M,)` and of the negatives `(M, k)`, -inf where one is the target."""
    positive = (outputs * table[targets]).sum(dim=-1)
    negative = outputs @ table[negatives].T
    return positive, negative.masked_fill(negatives == targets.unsqueeze(1), -math.inf)
