"""Histories -> session vectors, offline and online: one right-padded batch through the sequence model."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.scoring.item_space import join
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModel

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


Array = NDArray[np.float32]


def session_vectors(
    model: SequenceModel,
    histories: Sequence[Array],
    semantic_term: SemanticTerm | None = None,
    *,
    batch_size: int = 256,
) -> Array:
    """Return the session vector of each history.

    Args:
        model: in evaluation mode, on the CPU or a GPU.
        histories: history vectors, each `(n, D)` or `(n, D + q)` with n >= 1, the oldest item first; the most recent
            `items_read` count.
        semantic_term: None where there is none.
        batch_size: histories that run through the model together.

    Returns:
        `(B, D)` float32, in the order of `histories`.
    """
    sequence = _model_vectors(model, [history[:, : model.spec.dim] for history in histories], batch_size)
    if semantic_term is None:
        return sequence
    d, q = model.spec.dim, semantic_term.components
    query = np.empty((len(histories), q), dtype=np.float32)
    for row, history in enumerate(histories):
        successors = history[:, d + q :] if history.shape[1] > d + q else None
        query[row] = semantic_term.query(history[:, d : d + q], successors)
    return join(sequence, query)


@torch.inference_mode()
def _model_vectors(model: SequenceModel, histories: Sequence[Array], batch_size: int) -> Array:
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(histories), batch_size):
        items, present = pad_vectors(histories[start : start + batch_size], model.spec.max_length)
        parts.append(model.session_vectors(items.to(device), present.to(device)).cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, model.spec.dim), dtype=np.float32)


def items_read(model: SequenceModel, semantic_term: SemanticTerm | None) -> int:
    """Return how many of a history's most recent items decide its session vector."""
    return max(model.spec.max_length, 0 if semantic_term is None else semantic_term.history)
