"""Histories -> session vectors: what the evaluator and the service both ask of a sequence model.

`d` width of item embeddings, `q` of semantic profile vectors, `D = d + q` of item vectors; q is 0 without a semantic
term. The inner product of a session vector and an item vector is the item's score. History vectors are item vectors
`(n, D)`, followed by the items' successor vectors `(n, q)` where they have such: `(n, D + q)`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.history import pad_vectors
from llmemb.item_space import join
from llmemb.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModel

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
