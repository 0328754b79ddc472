"""Which rows of an index one query may get."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmemb.index.hits import NO_ROWS, Rows


@dataclass(frozen=True, slots=True, eq=False)
class RowFilter:
    """The rows that the mask lets through, but for a few.

    Args:
        mask: `(N,)`, true where a row passes; None lets all through.
        excluded: further rows that do not pass, ascending, each once and each a row of the index.
    """

    mask: NDArray[np.bool_] | None = None
    excluded: Rows = field(default_factory=lambda: NO_ROWS)

    def count(self, num_rows: int) -> int:
        """Return how many of `num_rows` rows pass."""
        passing = num_rows if self.mask is None else int(np.count_nonzero(self.mask))
        return passing - (len(self.excluded) if self.mask is None else int(np.count_nonzero(self.mask[self.excluded])))

    def passing(self, num_rows: int) -> Rows:
        """Return those of `num_rows` rows that pass, in order."""
        if self.mask is None:
            return np.delete(np.arange(num_rows), self.excluded)
        rows = np.flatnonzero(self.mask)
        return rows[~np.isin(rows, self.excluded)] if len(self.excluded) else rows

    def first(self, rows: Rows, k: int) -> slice | Rows | None:
        """Return where the first k of some rows that pass stand, None where fewer do; -1 is no row.

        Args:
            rows: `(n,)`, what is no row after all others.
            k: at least 1.
        """
        if self.mask is None and not len(self.excluded):
            return slice(k) if k <= len(rows) and rows[k - 1] >= 0 else None
        passing = rows >= 0
        if self.mask is not None:
            passing &= self.mask[rows]
        if len(self.excluded):
            passing &= self.excluded.take(self.excluded.searchsorted(rows), mode="clip") != rows
        places = passing.nonzero()[0][:k]
        return places if len(places) == k else None
