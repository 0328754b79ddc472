"""Histories of any lengths -> one right-padded batch.

Item rows count from 0, and `PADDING` is no row: there is no padding vector in any table, so none can be trained,
recommended, or take an item's place.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDING = -1


def pad_rows(histories: Sequence[NDArray[np.int64]], max_length: int) -> Tensor:
    """Keep the most recent items of each history and pad on the right with `PADDING`.

    Args:
        histories: item rows, the oldest first.
        max_length: the most that is kept of a history.

    Returns:
        `(B, L)` int64, L the longest kept history (at least 1).
    """
    kept = [history[-max_length:] for history in histories]
    rows = np.full((len(kept), max([1, *map(len, kept)])), PADDING, dtype=np.int64)
    for i, history in enumerate(kept):
        rows[i, : len(history)] = history
    return torch.from_numpy(rows)


def pad_vectors(histories: Sequence[NDArray[np.float32]], max_length: int) -> tuple[Tensor, Tensor]:
    """Do the same for histories given as item vectors.

    Args:
        histories: each `(n, d)` with n >= 1, the oldest first.
        max_length: the most that is kept of a history.

    Returns:
        The vectors `(B, L, d)` float32, zero in the padding, and where items are present `(B, L)` bool.
    """
    kept = [history[-max_length:] for history in histories]
    lengths = torch.tensor([len(history) for history in kept])
    vectors = np.zeros((len(kept), int(lengths.max()), kept[0].shape[1]), dtype=np.float32)
    for i, history in enumerate(kept):
        vectors[i, : len(history)] = history
    return torch.from_numpy(vectors), torch.arange(vectors.shape[1]) < lengths[:, None]
