"""Which items stand near each other in training histories."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class CoOccurrence:
    """Pairs of items within `window` steps of a history.

    Only the histories and the places of each item are held, not the pairs, of which there are 2 * `window` times as
    many.

    Args:
        histories: item rows, the oldest first; training interactions alone.
        num_items: items 0..num_items-1 may be asked for.
        window: the farthest two items of a history may stand apart, in steps.
    """

    def __init__(self, histories: Sequence[Rows], num_items: int, window: int) -> None:
        # `window` fillers after each history keep the last items of one from the first of the next.
        filler = np.full(window, -1, dtype=np.int64)
        self._rows = np.concatenate([filler, *(part for rows in histories for part in (rows, filler))])
        places = np.argsort(self._rows, kind="stable")
        self._places = places[np.searchsorted(self._rows[places], 0) :]
        self._starts = np.searchsorted(self._rows[self._places], np.arange(num_items + 1))
        self._offsets = np.array([step for step in range(-window, window + 1) if step])

    def neighbours(self, row: int) -> Rows:
        """Return the items near an item, one for each time, `(n,)`; empty where it never stands near another."""
        places = self._places[self._starts[row] : self._starts[row + 1]]
        around = self._rows[places[:, None] + self._offsets].ravel()
        near: Rows = around[(around >= 0) & (around != row)]
        return near

    def partner(self, row: int, generator: np.random.Generator) -> int | None:
        """Draw one of an item's neighbours, as often as it stands there; None where it has none."""
        near = self.neighbours(row)
        return int(near[generator.integers(len(near))]) if len(near) else None
