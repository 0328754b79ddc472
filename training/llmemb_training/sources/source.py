"""Common types of all formats: interactions in frames, and items row by row, in file order."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

USER = "user_id"
ITEM = "item_id"
TIME = "timestamp"
RATING = "rating"

ItemRow = tuple[str, object, Mapping[str, object] | None]
"""The place of an item in its file, such as `line 3`, its id, and its attributes; None if the item is not wanted."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """Column names of a file of interactions; `rating` is None if ratings are not read."""

    user: str = USER
    item: str = ITEM
    time: str = TIME
    rating: str | None = RATING

    @property
    def names(self) -> list[str]:
        """Names of the columns to read."""
        return [name for name in (self.user, self.item, self.time, self.rating) if name is not None]


@dataclass(frozen=True, slots=True)
class ItemColumns:
    """What to read of a file of items.

    Args:
        item: the id column, for formats without a fixed one.
        attributes: attribute name -> column; empty: every column except the id.
        lists: attributes with several values per cell, for formats with text cells.
        wanted: the ids with interactions; formats with large metadata skip all others.
    """

    item: str
    attributes: Mapping[str, str]
    lists: Container[str]
    wanted: Container[str]
