"""How much each history entry contributes to an item's score: the fall of the score without that entry.

`n` entries, `k` items, `D` width of item vectors, see `llmemb/scoring/session.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import items_read, session_vectors
from llmemb.sequence_models import SequenceModel

Array = NDArray[np.float32]


def contributions(
    model: SequenceModel, history: Array, items: Array, semantic_term: SemanticTerm | None = None
) -> Array:
    """Return by how much each item's score falls when an entry of the history is left out; negative where it rises.

    Where a history is longer than what is read, an older entry takes the place of the one that is left out, as it
    would if the history had come without it. A history that has nothing left scores 0.

    Args:
        model: in evaluation mode.
        history: history vectors `(n, D)` or `(n, D + q)` with n >= 1, the oldest entry first.
        items: vectors of the items, `(k, D)`.
        semantic_term: None where there is none.

    Returns:
        `(k, m)` float32 for the m = min(n, `items_read`) most recent entries, the oldest of them first.
    """
    read = min(len(history), items_read(model, semantic_term))
    # One entry more than is read: the one that takes the place.
    recent = history[-(read + 1) :]
    without = [np.delete(recent, entry, axis=0) for entry in range(len(recent) - read, len(recent))]
    whole, *shortened = _vectors(model, [recent, *without], semantic_term)
    falls: Array = items @ (whole - np.stack(shortened)).T
    return falls


def _vectors(model: SequenceModel, histories: Sequence[Array], semantic_term: SemanticTerm | None) -> Array:
    """Session vectors `(B, D)`; zero for a history without entries."""
    width = model.spec.dim + (0 if semantic_term is None else semantic_term.components)
    vectors = np.zeros((len(histories), width), dtype=np.float32)
    filled = [place for place, history in enumerate(histories) if len(history)]
    vectors[filled] = session_vectors(model, [histories[place] for place in filled], semantic_term)
    return vectors
