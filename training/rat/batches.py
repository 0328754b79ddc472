"""Training histories -> windows -> batches of inputs and targets.

`B` windows, `L` positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.scoring.session import PADDING, pad_rows
from llmemb.sequence_models.sequence_model import Objective

Rows = NDArray[np.int64]

CUT_SHARE = 0.5
"""Of the windows of masked items: share that is cut, to predict the last item from those before it."""
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
        mask_share: for masked items: share of the positions that are masked, where a window is not cut.
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
    # Serving always asks for the item after the last one, of histories of any length: half of the windows are cut after
    # a random item, their second at least, which alone is masked.
    lengths = (rows != PADDING).sum(dim=1, keepdim=True)
    is_cut = torch.from_numpy(generator.random((len(rows), 1)) < CUT_SHARE)
    ends = 2 + (torch.from_numpy(generator.random((len(rows), 1))) * (lengths - 1)).long()
    ends = torch.where(is_cut, ends.minimum(lengths), lengths)
    steps = torch.arange(rows.shape[1])
    rows = rows.masked_fill(steps >= ends, PADDING)
    hidden = torch.from_numpy(generator.random(rows.shape) < mask_share) & (rows != PADDING)
    last = steps == ends - 1
    hidden = torch.where(is_cut | ~hidden.any(dim=1, keepdim=True), last, hidden)
    return Batch(rows, torch.where(hidden, rows, PADDING), hidden)
