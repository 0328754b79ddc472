"""Cross-entropy over the whole catalogue, in the memory of a few rows of scores.

`M` predictions, `W` items, `d` width.
"""

from typing import Any

import torch
from torch import Tensor

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
