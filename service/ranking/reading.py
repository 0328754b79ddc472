"""A query's history, looked up in a snapshot of the catalogue."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from llmemb.item import Attributes
from service.catalogue.snapshot import Snapshot
from service.ranking.query import HistoryEntry, Query


@dataclass(frozen=True, slots=True, eq=False)
class HistoryRead:
    """The entries of a history that are read, and the rows that must not come."""

    positions: Sequence[int]
    """Of the entries that are read, in the history as it was sent."""
    entries: Sequence[int | Attributes]
    """Each the row of an item, or the attributes of one given inline; the oldest first."""
    excluded: Collection[int]

    @property
    def inline(self) -> list[Attributes]:
        """The attributes of the entries that are given by them, in their order."""
        return [entry for entry in self.entries if not isinstance(entry, int)]


def read_history(query: Query, snapshot: Snapshot, reach: int) -> tuple[HistoryRead, list[str]]:
    """Look a history up.

    Args:
        query: its history may hold ids that are not known.
        snapshot: the catalogue.
        reach: the most recent entries that are read; by popularity none is.

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
    read = slice(len(found), None) if query.strategy == "popular" else slice(-reach, None)
    history = HistoryRead(positions[read], found[read], excluded)
    return history, [] if query.stored else unknown


def _id_of(entry: HistoryEntry) -> str:
    assert isinstance(entry, str)
    return entry
