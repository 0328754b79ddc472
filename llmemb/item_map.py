"""The map of the catalogue: a position `(2,)` for each item.

The trainer lays the items out by t-SNE (`llmemb_training/steps/bundle.py`) and stores the positions in the bundle.
t-SNE has no function that positions a later item, so such an item gets the median position of its nearest neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb.index import Rows, spread_rows
from llmemb.scoring.projection import fit_reduction, fold, unit_length

Array = NDArray[np.float32]
AXES = 2
MAX_LAID_OUT = 20_000
"""Maximum number of items that t-SNE lays out and among which neighbours are searched: it bounds the time of both."""
NEIGHBOURS = 10
_CHUNK_ROWS = 256
"""Rows whose cosines are in memory at once: 20 MB for `MAX_LAID_OUT` items."""


def laid_out_rows(num_items: int, maximum: int = MAX_LAID_OUT) -> Rows:
    """Return the rows of the items that t-SNE lays out: all, or `maximum` of them, evenly spread."""
    return spread_rows(num_items, maximum)


def place_near_neighbours(embeddings: Array, laid_out: Array, positions: Array) -> Array:
    """Position items at the median of their `NEIGHBOURS` nearest neighbours by cosine.

    Args:
        embeddings: item embeddings of the items to position, `(n, d)`.
        laid_out: item embeddings of the possible neighbours, `(m, d)`, m > 0.
        positions: their positions, `(m, 2)`.

    Returns:
        `(n, 2)`, the median of each coordinate.
    """
    laid_out = unit_length(laid_out)
    count = min(NEIGHBOURS, len(laid_out))
    placed = np.empty((len(embeddings), AXES), dtype=np.float32)
    for start in range(0, len(embeddings), _CHUNK_ROWS):
        # The length of an embedding does not change the order of its cosines.
        cosines = embeddings[start : start + _CHUNK_ROWS] @ laid_out.T
        nearest = np.argpartition(cosines, len(laid_out) - count, axis=1)[:, -count:]
        placed[start : start + _CHUNK_ROWS] = np.median(positions[nearest], axis=1)
    return placed


def pca_positions(embeddings: Array) -> Array:
    """Position items by PCA: the map of a bundle without stored positions, and the start of t-SNE.

    Args:
        embeddings: item embeddings, `(N, d)`.

    Returns:
        `(N, 2)`, scaled by `scaled_to_unit`. An axis along which the items do not differ is 0 everywhere.
    """
    num_items, dim = embeddings.shape
    positions = np.zeros((num_items, AXES), dtype=np.float32)
    axes = min(AXES, num_items - 1, dim)
    if axes > 0:
        try:
            positions[:, :axes] = fold(fit_reduction(embeddings, axes, "pca"), []).apply(embeddings)
        except DataError:  # all items are the same
            return positions
    return scaled_to_unit(positions)


def scaled_to_unit(positions: Array) -> Array:
    """Scale positions `(N, 2)` by one factor: the outermost item is at a distance of 1 along an axis."""
    outermost = np.abs(positions).max(initial=0)
    return positions / outermost if outermost > 0 else positions
