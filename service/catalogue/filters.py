"""Which rows of a snapshot may come: a filter's parts, and the masks that are made of them when an index asks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmemb.api.recommend import Filters
from llmemb.index import RowFilter, Rows
from service.catalogue.row_sets import EMPTY, Mask, RowSet

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
