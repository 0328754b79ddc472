"""Training histories -> windows -> batches of inputs and targets.

`B` windows, `L` positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.history import PADDING, pad_rows
from llmemb.sequence_models.sequence_model import Objective

Rows = NDArray[np.int64]

GROUPED_BATCHES = 20
"""Batches whose windows are drawn together and sorted by length."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step reads.

    Args:
        inputs: item rows `(B, L)`, `PADDING` on the right.
        targets: item rows `(B, L)`, `PADDING` where nothing is predicted.
        hidden: `(B, L)` bool, the masked positions; None for next-item models.
    """

    inputs: Tensor
    targets: Tensor
    hidden: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(
            self.inputs.to(device),
            self.targets.to(device),
            None if self.hidden is None else self.hidden.to(device),
        )


def cut_windows(histories: Sequence[Rows], max_length: int, objective: Objective) -> list[Rows]:
    """Cut each history, from its end, into windows of at most `max_length + 1` items: a full history and what follows.

    Windows for next-item prediction share an item with their neighbour, so that every item but the first of a history
    is a target once; windows without a target are left out. Those for masked items share none.
    """
    overlap = 1 if objective == "next_item" else 0
    windows = []
    for history in histories:
        end = len(history)
        while end > overlap:
            start = max(0, end - max_length - 1)
            windows.append(history[start:end])
            end = start + overlap if start else 0
    return windows


def iterate_batches(
    windows: Sequence[Rows], objective: Objective, batch_size: int, mask_share: float, generator: np.random.Generator
) -> Iterator[Batch]:
    """Yield every window once, in an order drawn from `generator`.

    Windows of like length stand together, so that little is computed on padding, and every batch holds about as many
    items as another, so that an item counts alike in a short history and in a long one: a drawn group of windows is
    sorted by length and cut, and the batches come in an order drawn again.

    Args:
        windows: as `cut_windows` returns them.
        objective: of the sequence model.
        batch_size: windows of a batch, on average.
        mask_share: for masked items: share of the positions that are masked.
        generator: decides order and masks.
    """
    lengths = np.array([len(window) for window in windows])
    order = generator.permutation(len(windows))
    group = batch_size * GROUPED_BATCHES
    batches: list[Rows] = []
    for start in range(0, len(order), group):
        members = order[start : start + group]
        members = members[np.argsort(lengths[members], kind="stable")]
        items = np.cumsum(lengths[members])
        count = max(1, round(len(members) / batch_size))
        cuts = np.searchsorted(items, items[-1] * np.arange(1, count) / count)
        batches += [batch for batch in np.split(members, cuts) if len(batch)]
    for place in generator.permutation(len(batches)):
        chosen = [windows[i] for i in batches[place]]
        rows = pad_rows(chosen, max(map(len, chosen)))
        yield _next_item(rows) if objective == "next_item" else _masked_item(rows, mask_share, generator)


def _next_item(rows: Tensor) -> Batch:
    inputs, targets = rows[:, :-1], rows[:, 1:]
    # The last item of a shorter window predicts nothing, so it need not be read.
    return Batch(torch.where(targets == PADDING, PADDING, inputs), targets, None)


def _masked_item(rows: Tensor, mask_share: float, generator: np.random.Generator) -> Batch:
    present = rows != PADDING
    hidden = torch.from_numpy(generator.random(rows.shape) < mask_share) & present
    # Serving always asks for the item after the last one, so each window's last item is masked in half the cases.
    last = torch.arange(rows.shape[1]) == present.sum(dim=1, keepdim=True) - 1
    hidden |= last & torch.from_numpy(generator.random((len(rows), 1)) < 0.5)
    empty = ~hidden.any(dim=1, keepdim=True)
    hidden |= last & empty
    return Batch(rows, torch.where(hidden, rows, PADDING), hidden)
