"""Histories -> session vectors: what the evaluator and the service both ask of a sequence model."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.history import pad_vectors
from llmemb.sequence_models import SequenceModel

Array = NDArray[np.float32]


@torch.inference_mode()
def session_vectors(model: SequenceModel, histories: Sequence[Array], batch_size: int = 256) -> Array:
    """Return the session vector of each history.

    Args:
        model: in evaluation mode, on the CPU or a GPU.
        histories: each `(n, d)` with n >= 1, the oldest item first; the most recent `max_length` are read.
        batch_size: histories that run through the model together.

    Returns:
        `(B, d)` float32, in the order of `histories`.
    """
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(histories), batch_size):
        items, present = pad_vectors(histories[start : start + batch_size], model.spec.max_length)
        parts.append(model.session_vectors(items.to(device), present.to(device)).cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, model.spec.dim), dtype=np.float32)
