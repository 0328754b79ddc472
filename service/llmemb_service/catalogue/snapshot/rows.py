"""Rows of a catalogue: growing columns shared by snapshots, immutable row sets, and filters as row masks."""

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
    """The array that columns of successive snapshots share; its first `used` rows are written."""

    array: NDArray[Kind]
    used: int


@dataclass(frozen=True, slots=True)
class Column(Generic[Kind]):
    """The first `length` rows of a store, `(length, ...)`; immutable."""

    _store: _Store[Kind]
    length: int

    @classmethod
    def of(cls, rows: NDArray[Kind]) -> "Column[Kind]":
        """Make a column of these rows. It owns the array from now on."""
        return cls(_Store(rows, len(rows)), len(rows))

    @property
    def rows(self) -> NDArray[Kind]:
        """All rows, as a view."""
        return self._store.array[: self.length]

    def with_rows(self, more: NDArray[Kind]) -> "Column[Kind]":
        """Return a longer column; this one does not change."""
        store, need = self._store, self.length + len(more)
        if store.used != self.length or need > len(store.array):
            # Another column has already appended here, or the array is full. Doubling it makes copies rare.
            array = np.empty((max(FIRST_CAPACITY, 2 * need), *more.shape[1:]), dtype=store.array.dtype)
            array[: self.length] = self.rows
            if store.used == self.length:
                store.array = array  # the rows of older snapshots are the same in the new array
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
    """An immutable set of rows, stored as a mask; rows after the mask's end are not in the set.

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
        """Return the set with rows added and removed; the same object if there are none."""
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
        """All rows of the set, ascending."""
        return np.flatnonzero(self._mask)

    def mask(self, start: int, stop: int) -> Mask:
        """Return a new mask of the rows `start..stop` that are in the set, `(stop - start,)`."""
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
    """The ascending rows of each category; an unchanged category shares its array with the next snapshot.

    Rows of removed items stay in the arrays: the caller must check `Visibility` too.
    """

    _columns: "immutables.Map[str, Column[np.int64]]"

    @classmethod
    def of(cls, rows: Mapping[str, Iterable[int]]) -> "CategoryRows":
        """Make it from ascending rows."""
        columns = {name: Column.of(np.fromiter(each, dtype=np.int64)) for name, each in rows.items()}
        return cls(immutables.Map(columns))

    def rows(self, category: str) -> Rows:
        """Return the rows of a category, ascending."""
        column = self._columns.get(category)
        return NO_ROWS if column is None else column.rows

    def changed(self, added: Mapping[str, Collection[int]], removed: Mapping[str, Collection[int]]) -> "CategoryRows":
        """Return a copy with rows added to and removed from categories."""
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
    # `np.union1d` would sort all rows; this is one pass.
    removed = removed[_is_among(removed, rows)]
    if len(removed):
        rows = np.delete(rows, _places(rows, removed))
    added = added[~_is_among(added, rows)]
    if len(added):
        rows = np.insert(rows, _places(rows, added), added)
    return Column.of(rows)


def _places(rows: Rows, few: Rows) -> Rows | int:
    """Return the positions of a few rows among ascending ones; a single one as an int, which NumPy handles faster."""
    places = np.searchsorted(rows, few)
    return int(places[0]) if len(places) == 1 else places


def _is_among(few: Rows, rows: Rows) -> Mask:
    """Return a mask of the few rows that are among many ascending ones."""
    places = np.searchsorted(rows, few)
    found = np.zeros(len(few), dtype=np.bool_)
    inside = places < len(rows)
    found[inside] = rows[places[inside]] == few[inside]
    return found


FEW_ROWS = 256
"""Up to this many hidden rows, searching for more hits and dropping some costs less than a mask."""
MANY_EXCLUDED = 2000
"""Above this many excluded rows, a mask for the request costs less than searching for more hits."""


class Visibility:
    """The rows that no filter, or not the default filter, lets through; shared by snapshots until it changes.

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
        """Return the rows that are not searched."""
        return self._closed if available_only else self.hidden

    def mask(self, stop: int, *, available_only: bool) -> Mask:
        """Return a mask of the searchable rows among the first `stop`; cached for the last `stop`."""
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
    """The request's own filters, for an index that filters itself."""
    visibility: Visibility
    any_of: tuple[Rows, ...]
    """Rows of each category of `categories_any`, ascending."""
    all_of: tuple[Rows, ...]
    """Rows of each category of `categories_all`, ascending."""
    allowed: Rows | None
    """If not None, only these rows pass; ascending."""
    excluded: Rows
    """Rows that do not pass, ascending."""

    @cached_property
    def _groups(self) -> tuple[tuple[Rows, ...], ...]:
        """Row arrays in groups: a row passes if each group has it in one of its arrays."""
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

    def candidates(self, max_rows: int) -> Rows | None:
        """Return the ascending rows that pass, if one part of the filter leaves at most `max_rows`; else None."""
        groups = sorted(self._groups, key=_size)
        if not groups or _size(groups[0]) > max_rows:
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
        """Return a mask of the rows `start..stop` that pass, `(stop - start,)`."""
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
    """Return a mask of the `rows` that are among `others`; both ascending."""
    if not len(others):
        return np.zeros(len(rows), dtype=np.bool_)
    places = np.minimum(np.searchsorted(others, rows), len(others) - 1)
    found: Mask = others[places] == rows
    return found
