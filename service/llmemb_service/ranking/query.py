"""Queries and recommendations, and the lookup of a query's history in a snapshot."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters, Strategy
from llmemb.item import Attributes
from llmemb_service.catalogue.snapshot.snapshot import Snapshot

HistoryEntry = str | Attributes
"""An item's id, or the attributes of an item given inline."""
ANY_AVAILABLE = Filters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A history, and the options of a recommendation. Validated: ids and attributes are usable, `k` is at least 1."""

    history: Sequence[HistoryEntry] = ()
    """Oldest entry first; empty: the most popular items are recommended."""
    k: int = 10
    filters: Filters = ANY_AVAILABLE
    exclude_history: bool = True
    """Recommend no item whose id is in the history, however old."""
    explain: bool = False
    strategy: Strategy = "all"
    stored: bool = False
    """The history is a stored session: ids that are no longer in the catalogue are ignored."""

    @property
    def has_attributes(self) -> bool:
        """Whether an item is given inline, so that it must be embedded first."""
        return not {*map(type, self.history)} <= {str}


Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reason:
    """An entry of the history, and how much an item's score decreases without it; see `llmemb.scoring.attribution`."""

    position: int
    id: str | None
    contribution: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The contribution of each entry of the history to each item's score."""

    positions: Sequence[int]
    """Of the entries, `(m,)`."""
    ids: Sequence[str | None]
    """Of the entries, `(m,)`; None for one given by attributes."""
    contributions: Array
    """`(k, m)`."""

    def reasons(self, place: int) -> list[Reason]:
        """Return an item's reasons, largest contribution first; of two equal ones the older first."""
        falls = self.contributions[place]
        return [
            Reason(self.positions[entry], self.ids[entry], float(falls[entry]))
            for entry in np.argsort(-falls, kind="stable").tolist()
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Recommendation:
    """The recommended items, best first."""

    snapshot: Snapshot
    """The snapshot of which `rows` are rows."""
    rows: NDArray[np.int64]
    """`(k,)`."""
    scores: Array
    """`(k,)`."""
    by_popularity: bool
    """Whether the items are the most popular ones, for lack of a history."""
    explanation: Explanation | None
    """None if the query did not ask for it."""

    @property
    def item_ids(self) -> list[str]:
        """The items' ids."""
        return [self.snapshot.item_id(row) for row in self.rows.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class HistoryRead:
    """The entries of a history that are read, and the rows that must not be recommended."""

    positions: Sequence[int]
    """Of the entries that are read, in the history as it was sent."""
    entries: Sequence[int | Attributes]
    """Each the row of an item, or the attributes of one given inline; the oldest first."""
    excluded: Collection[int]

    @property
    def inline(self) -> list[Attributes]:
        """The attributes of the entries that are given by them, in their order."""
        return [entry for entry in self.entries if not isinstance(entry, int)]


def read_history(query: Query, snapshot: Snapshot, max_items: int) -> tuple[HistoryRead, list[str]]:
    """Look up a history in a snapshot.

    Args:
        query: its history may contain unknown ids.
        snapshot: the catalogue.
        max_items: how many of the most recent entries are read; strategy `popular` reads none.

    Returns:
        What is read of it, and the ids that the catalogue does not hold, unless it may pass them over.
    """
    looked_up: Sequence[int | Attributes | None]
    if query.has_attributes:
        looked_up = [snapshot.row(entry) if isinstance(entry, str) else entry for entry in query.history]
    else:
        looked_up = snapshot.rows(cast("Sequence[str]", query.history))
    positions: Sequence[int] = range(len(looked_up))
    unknown: list[str] = []
    if None in looked_up:
        positions = [position for position in positions if looked_up[position] is not None]
        unknown = [_id_of(query.history[position]) for position, entry in enumerate(looked_up) if entry is None]
    found = [entry for entry in looked_up if entry is not None]
    excluded = {entry for entry in found if isinstance(entry, int)} if query.exclude_history else frozenset()
    read = slice(len(found), None) if query.strategy == "popular" else slice(-max_items, None)
    history = HistoryRead(positions[read], found[read], excluded)
    return history, [] if query.stored else unknown


def _id_of(entry: HistoryEntry) -> str:
    assert isinstance(entry, str)
    return entry
