"""From semantic vectors to item vectors: an id of the bundle keeps what its interactions taught, whatever its text.

`d` width of item embeddings, `D` of item vectors.
"""

from collections.abc import Sequence

import numpy as np

from llmemb.bundle import Bundle
from service.catalogue.changes import Array


def item_vectors(bundle: Bundle, item_ids: Sequence[str], semantic: Array) -> Array:
    """Return the item vectors `(n, D)` of items with the semantic vectors `(n, D)`."""
    if bundle.residual is None:
        return bundle.space.item_vectors(semantic, None)
    residual = np.zeros((len(item_ids), bundle.space.dim), dtype=np.float32)
    rows = bundle.items.rows
    for place, item_id in enumerate(item_ids):
        row = rows.get(item_id)
        if row is not None:
            residual[place] = bundle.residual[row]
    return bundle.space.item_vectors(semantic, residual)
