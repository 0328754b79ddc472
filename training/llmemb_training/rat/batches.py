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

GROUPED_BATCHES = 20
"""Windows are sorted by length in groups of this many batches."""


@dataclass(frozen=True, slots=True)
class Masking:
    """Masked-item training; for the fields see `RatConfig`."""

    mask_share: float
    truncated_share: float


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs and targets of one optimiser step.

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
    """Cut each history, from its end, into windows of at most `max_length + 1` items: `max_length` inputs and a target.

    Next-item windows overlap by one item, so that each item of a history except the first is a target once; windows
    without a target are omitted. Masked-item windows do not overlap.
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
    windows: Sequence[Rows],
    objective: Objective,
    batch_size: int,
    masking: Masking,
    generator: np.random.Generator,
) -> Iterator[Batch]:
    """Yield every window once, in an order drawn from `generator`.

    A batch contains windows of similar length, which reduces padding. All batches of a group contain about the same
    number of items, so that an item has the same weight in short and in long histories. To do this, a random group of
    windows is sorted by length and split into batches, and the batches are shuffled.

    Args:
        windows: as `cut_windows` returns them.
        objective: the training objective of the sequence model.
        batch_size: average number of windows in a batch.
        masking: the targets of masked-item training.
        generator: draws the order and the masks.
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
        yield _next_item(rows) if objective == "next_item" else _masked_item(rows, masking, generator)


def _next_item(rows: Tensor) -> Batch:
    inputs, targets = rows[:, :-1], rows[:, 1:]
    # The last item of a shorter window has no target, so it is padding in the inputs.
    return Batch(torch.where(targets == PADDING, PADDING, inputs), targets, None)


def _masked_item(rows: Tensor, masking: Masking, generator: np.random.Generator) -> Batch:
    # In serving, the model predicts the item after a history of any length. So some windows are truncated after a
    # random item, the second or a later one, and only that item is masked.
    lengths = (rows != PADDING).sum(dim=1, keepdim=True)
    is_cut = torch.from_numpy(generator.random((len(rows), 1)) < masking.truncated_share)
    ends = 2 + (torch.from_numpy(generator.random((len(rows), 1))) * (lengths - 1)).long()
    ends = torch.where(is_cut, ends.minimum(lengths), lengths)
    steps = torch.arange(rows.shape[1])
    rows = rows.masked_fill(steps >= ends, PADDING)
    hidden = torch.from_numpy(generator.random(rows.shape) < masking.mask_share) & (rows != PADDING)
    last = steps == ends - 1
    hidden = torch.where(is_cut | ~hidden.any(dim=1, keepdim=True), last, hidden)
    return Batch(rows, torch.where(hidden, rows, PADDING), hidden)
