"""The map of the catalogue: item embeddings `(N, d)` -> points `(N, 2)`, by one affine map.

PCA: the two directions in which the items differ most. Unlike UMAP it places an item that comes later, by the same two
sums, exactly where it would have been among the others. Near items are near on the map; far ones need not be far.
"""

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb.scoring.projection import Projection, fit_reduction, fold

Array = NDArray[np.float32]
AXES = 2


def fit_item_map(embeddings: Array) -> Projection:
    """Fit the map of a catalogue.

    Args:
        embeddings: item embeddings, `(N, d)`.

    Returns:
        `(d, 2)`: its `apply` places item embeddings `(n, d)`. Both axes have one scale, by which the outermost of the
        items lies at a distance of 1 along its axis. An axis along which the items do not differ is 0 everywhere.
    """
    num_items, dim = embeddings.shape
    components = np.zeros((dim, AXES), dtype=np.float32)
    axes = min(AXES, num_items - 1, dim)
    try:
        fitted = fold(fit_reduction(embeddings, axes, "pca"), []) if axes > 0 else None
    except DataError:  # all items are the same
        fitted = None
    if fitted is None:
        return Projection(weight=components, bias=np.zeros(AXES, dtype=np.float32))
    outermost = np.abs(fitted.apply(embeddings)).max()
    components[:, :axes] = fitted.weight / outermost
    bias = np.zeros(AXES, dtype=np.float32)
    bias[:axes] = fitted.bias / outermost
    return Projection(weight=components, bias=bias)
