"""What the recommendations do to the catalogue: coverage, tail share, and Gini coefficient.

`N` items; `slots` are the item rows of all recommendation lists together, `(s,)`.
"""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def coverage(slots: Rows, num_items: int) -> float:
    """Return the share of the catalogue that is recommended to anyone.

    Source: Ge, Delgado-Battenfeld and Jannach 2010, "Beyond accuracy", catalogue coverage.
    """
    return len(np.unique(slots)) / num_items


def tail_share(slots: Rows, is_tail: NDArray[np.bool_]) -> float:
    """Return the share of the slots that hold an item of the tail; `is_tail` is `(N,)`. Without slots it is 0."""
    return float(is_tail[slots].mean()) if len(slots) else 0.0


def gini(slots: Rows, num_items: int) -> float:
    """Return the Gini coefficient of how often each item is recommended: 0 all alike, towards 1 few have all.

    Without slots it is 0.

    Source: Gini 1912, in the form of half the relative mean difference.
    """
    counts = np.sort(np.bincount(slots, minlength=num_items)).astype(np.float64)
    if not counts.sum():
        return 0.0
    places = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float((places * counts).sum() / (num_items * counts.sum()))
