"""k-core: only users and items with at least k interactions, repeated until nothing changes."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.sources.source import ITEM, USER


def k_core(interactions: pl.DataFrame, k: int) -> pl.DataFrame:
    """Return the interactions among users and items that all have at least `k` of them; the order is kept.

    Args:
        interactions: columns `user_id` and `item_id` hold codes, integers from 0, and perhaps others.
        k: see above.

    Source: Seidman 1983; the reference code makes one pass only, after which users under k remain.
    """
    users, items = interactions[USER].to_numpy(), interactions[ITEM].to_numpy()
    kept = np.ones(interactions.height, dtype=np.bool_)
    while True:
        rich = _with_at_least(users, kept, k) & _with_at_least(items, kept, k)
        if rich[kept].all():
            return interactions.filter(kept)
        kept &= rich


def _with_at_least(codes: NDArray[np.integer], kept: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Whether the code of each row has `k` rows among those kept, `(n,)`."""
    if not len(codes):
        return kept
    counts = np.bincount(codes[kept], minlength=int(codes.max()) + 1)
    enough: NDArray[np.bool_] = (counts >= k)[codes]
    return enough
