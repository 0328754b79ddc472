"""Immutable sets of rows, as masks and as ascending arrays."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import immutables
import numpy as np
from numpy.typing import NDArray

from llmemb.index import NO_ROWS, Rows
from service.catalogue.columns import Column

Mask = NDArray[np.bool_]


def as_rows(rows: Collection[int]) -> Rows:
    """Return rows as an ascending array without duplicates."""
    return np.array(sorted(set(rows)), dtype=np.int64) if rows else NO_ROWS


class RowSet:
    """A set of rows as a mask that is copied when it changes; rows past the mask's end are not in it.

    Args:
        mask: True where a row is in the set.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._count = int(np.count_nonzero(mask))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: int) -> bool:
        return row < len(self._mask) and bool(self._mask[row])

    def changed(self, added: Collection[int], removed: Collection[int] = ()) -> "RowSet":
        """Return the set with rows added and removed; itself where there are none."""
        if not added and not removed:
            return self
        mask = np.zeros(max(len(self._mask), max(added, default=-1) + 1), dtype=np.bool_)
        mask[: len(self._mask)] = self._mask
        mask[list(added)] = True
        mask[[row for row in removed if row < len(mask)]] = False
        return RowSet(mask)

    def __or__(self, other: "RowSet") -> "RowSet":
        if not len(other) or not len(self):
            return other if len(other) else self
        long, short = sorted((self._mask, other._mask), key=len, reverse=True)
        mask = long.copy()
        mask[: len(short)] |= short
        return RowSet(mask)

    @cached_property
    def rows(self) -> Rows:
        """All of them, ascending."""
        return np.flatnonzero(self._mask)

    def mask(self, start: int, stop: int) -> Mask:
        """Return where the rows `start..stop` are in the set, `(stop - start,)`; a new array."""
        mask = np.zeros(stop - start, dtype=np.bool_)
        part = self._mask[start:stop]
        mask[: len(part)] = part
        return mask

    def has(self, rows: Rows) -> Mask:
        """Return which of `rows` are in the set."""
        inside = rows < len(self._mask)
        found = np.zeros(len(rows), dtype=np.bool_)
        found[inside] = self._mask[rows[inside]]
        return found


EMPTY = RowSet(np.zeros(0, dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class CategoryRows:
    """Which rows have a category: ascending arrays, that of a category that did not change shared with the next.

    Rows of items that are gone stay in the arrays: who reads them asks elsewhere whether a row counts.
    """

    _columns: "immutables.Map[str, Column[np.int64]]"

    @classmethod
    def of(cls, rows: Mapping[str, Iterable[int]]) -> "CategoryRows":
        """Make it of ascending rows."""
        columns = {name: Column.of(np.fromiter(each, dtype=np.int64)) for name, each in rows.items()}
        return cls(immutables.Map(columns))

    def rows(self, category: str) -> Rows:
        """Return the rows of a category, ascending."""
        column = self._columns.get(category)
        return NO_ROWS if column is None else column.rows

    def changed(self, added: Mapping[str, Collection[int]], removed: Mapping[str, Collection[int]]) -> "CategoryRows":
        """Return it with rows added to categories, and rows removed from categories."""
        if not added and not removed:
            return self
        columns = self._columns.mutate()
        for category in {**added, **removed}:
            column = columns.get(category)
            more, fewer = as_rows(added.get(category, ())), as_rows(removed.get(category, ()))
            columns[category] = _changed(Column.of(NO_ROWS) if column is None else column, more, fewer)
        return CategoryRows(columns.finish())


def _changed(column: Column[np.int64], added: Rows, removed: Rows) -> Column[np.int64]:
    if not len(removed) and (not column.length or not len(added) or column.rows[-1] < added[0]):
        return column.with_rows(added)
    rows = column.rows
    # One pass over the rows, where a union would sort them.
    removed = removed[_is_among(removed, rows)]
    if len(removed):
        rows = np.delete(rows, _places(rows, removed))
    added = added[~_is_among(added, rows)]
    if len(added):
        rows = np.insert(rows, _places(rows, added), added)
    return Column.of(rows)


def _places(rows: Rows, few: Rows) -> Rows | int:
    """Return where a few rows stand among ascending ones; one place as a number, which NumPy is quicker with."""
    places = np.searchsorted(rows, few)
    return int(places[0]) if len(places) == 1 else places


def _is_among(few: Rows, rows: Rows) -> Mask:
    """Return which of a few rows are among many ascending ones."""
    places = np.searchsorted(rows, few)
    found = np.zeros(len(few), dtype=np.bool_)
    inside = places < len(rows)
    found[inside] = rows[places[inside]] == few[inside]
    return found
