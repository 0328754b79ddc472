"""Rows of a catalogue: growing columns that snapshots share, immutable sets of rows, and filters as masks of rows."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import immutables
import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters
from llmemb.index import NO_ROWS, RowFilter, Rows

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


FEW_ROWS = 256
"""So many rows are cheaper to look past than to mask out."""
MANY_EXCLUDED = 2000
"""Past it, looking further costs more than a mask of one's own."""


class Visibility:
    """The rows that no filter or the usual filter lets through; shared by snapshots until it changes.

    Args:
        hidden: rows whose items were removed, or replaced by a later row.
        unavailable: rows of items that are not available.
    """

    def __init__(self, hidden: RowSet = EMPTY, unavailable: RowSet = EMPTY) -> None:
        self.hidden = hidden
        self.unavailable = unavailable
        self._masks: dict[bool, tuple[int, Mask]] = {}

    @cached_property
    def _closed(self) -> RowSet:
        return self.hidden | self.unavailable

    def refused(self, *, available_only: bool) -> RowSet:
        """Return the rows that cannot come."""
        return self._closed if available_only else self.hidden

    def mask(self, stop: int, *, available_only: bool) -> Mask:
        """Return which of the first `stop` rows can come; made once for all who ask with the same `stop`."""
        made = self._masks.get(available_only)
        if made is None or made[0] != stop:
            made = (stop, ~self.refused(available_only=available_only).mask(0, stop))
            made[1].flags.writeable = False
            self._masks[available_only] = made
        return made[1]


@dataclass(frozen=True, kw_only=True)
class Passing:
    """The rows of one snapshot that pass one request's filters."""

    filters: Filters
    """As they were asked for, for an index that filters by itself."""
    visibility: Visibility
    any_of: tuple[Rows, ...]
    """Rows of each category of `categories_any`, ascending."""
    all_of: tuple[Rows, ...]
    """Rows of each category of `categories_all`, ascending."""
    allowed: Rows | None
    """The only rows that may come, ascending; None where any may."""
    excluded: Rows
    """Further rows that may not come, ascending."""

    @cached_property
    def _groups(self) -> tuple[tuple[Rows, ...], ...]:
        """A row passes that is in one array of each group."""
        groups: list[tuple[Rows, ...]] = [(rows,) for rows in self.all_of]
        if self.filters.categories_any:
            groups.append(self.any_of)
        if self.allowed is not None:
            groups.append((self.allowed,))
        if self.filters.available is False:
            groups.append((self.visibility.unavailable.rows,))
        return tuple(groups)

    @property
    def _refused(self) -> RowSet:
        return self.visibility.refused(available_only=self.filters.available is True)

    def candidates(self, most: int) -> Rows | None:
        """Return the rows that pass, ascending, where a part of the filter leaves at most `most`; else None."""
        groups = sorted(self._groups, key=_size)
        if not groups or _size(groups[0]) > most:
            return None
        rows = _union(groups[0])
        for group in groups[1:]:
            rows = rows[np.logical_or.reduce([_is_in(rows, each) for each in group])]
        return rows[~(self._refused.has(rows) | _is_in(rows, self.excluded))]

    def row_filter(self, stop: int) -> RowFilter:
        """Return the filter of an index over the first `stop` rows."""
        if self._groups:
            return RowFilter(self.mask(0, stop))
        refused, mask, excluded = self._refused, None, self.excluded
        if len(refused) <= FEW_ROWS:
            excluded = np.union1d(excluded, refused.rows) if len(refused) else excluded
        else:
            mask = self.visibility.mask(stop, available_only=self.filters.available is True)
        if len(excluded) > MANY_EXCLUDED:
            return RowFilter(self.mask(0, stop))
        return RowFilter(mask, excluded[: np.searchsorted(excluded, stop)])

    def mask(self, start: int, stop: int) -> Mask:
        """Return which of the rows `start..stop` pass, `(stop - start,)`."""
        passes = ~self._refused.mask(start, stop)
        for group in self._groups:
            inside = np.zeros(stop - start, dtype=np.bool_)
            for rows in group:
                inside[_between(rows, start, stop) - start] = True
            passes &= inside
        passes[_between(self.excluded, start, stop) - start] = False
        return passes


def _size(group: tuple[Rows, ...]) -> int:
    return sum(map(len, group))


def _union(group: tuple[Rows, ...]) -> Rows:
    return group[0] if len(group) == 1 else np.unique(np.concatenate(group))


def _between(rows: Rows, start: int, stop: int) -> Rows:
    first, last = np.searchsorted(rows, (start, stop))
    return rows[first:last]


def _is_in(rows: Rows, others: Rows) -> Mask:
    """Return which of `rows` are among `others`; both ascending."""
    if not len(others):
        return np.zeros(len(rows), dtype=np.bool_)
    places = np.minimum(np.searchsorted(others, rows), len(others) - 1)
    found: Mask = others[places] == rows
    return found
