"""Columns that grow at their end and are shared by the snapshots before and after: adding a row copies nothing."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=np.generic)
FIRST_CAPACITY = 16


@dataclass(slots=True)
class _Store(Generic[Kind]):
    """What the columns of one line of snapshots share: rows, of which `used` are written."""

    array: NDArray[Kind]
    used: int


@dataclass(frozen=True, slots=True)
class Column(Generic[Kind]):
    """The first `length` rows of a store, `(length, ...)`: they never change."""

    _store: _Store[Kind]
    length: int

    @classmethod
    def of(cls, rows: NDArray[Kind]) -> "Column[Kind]":
        """Make a column that begins with these rows; the array is the column's from now on."""
        return cls(_Store(rows, len(rows)), len(rows))

    @property
    def rows(self) -> NDArray[Kind]:
        """All of them, as a view."""
        return self._store.array[: self.length]

    def with_rows(self, more: NDArray[Kind]) -> "Column[Kind]":
        """Return a longer column; this one stays as it is."""
        store, need = self._store, self.length + len(more)
        if store.used != self.length or need > len(store.array):
            # Another column has gone on from here, or there is no room: twice the room, so that rows are rarely copied.
            array = np.empty((max(FIRST_CAPACITY, 2 * need), *more.shape[1:]), dtype=store.array.dtype)
            array[: self.length] = self.rows
            if store.used == self.length:
                store.array = array  # the older snapshots read the same rows there
            else:
                store = _Store(array, self.length)
        store.array[self.length : need] = more
        store.used = need
        return Column(store, need)
