"""What comes of a query: items, and why.

`k` items, `m` entries of the history.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.catalogue.snapshot import Snapshot

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reason:
    """An entry of the history, and by how much an item's score falls without it; see `llmemb/attribution.py`."""

    position: int
    id: str | None
    contribution: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What each entry that was read did for each item."""

    positions: Sequence[int]
    """Of the entries, `(m,)`."""
    ids: Sequence[str | None]
    """Of the entries, `(m,)`; None for one given by attributes."""
    contributions: Array
    """`(k, m)`."""

    def reasons(self, place: int) -> list[Reason]:
        """Return an item's reasons, the entry that drew it most first; the older of two equal ones first."""
        falls = self.contributions[place]
        return [
            Reason(self.positions[entry], self.ids[entry], float(falls[entry]))
            for entry in np.argsort(-falls, kind="stable").tolist()
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Recommendation:
    """Items, the best first."""

    snapshot: Snapshot
    """What `rows` are rows of."""
    rows: NDArray[np.int64]
    """`(k,)`."""
    scores: Array
    """`(k,)`."""
    by_popularity: bool
    """There was no history to go by."""
    explanation: Explanation | None
    """None where nobody asked for it."""

    @property
    def item_ids(self) -> list[str]:
        """The items' ids."""
        return [self.snapshot.item_id(row) for row in self.rows.tolist()]
