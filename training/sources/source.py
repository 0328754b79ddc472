"""What every form gives: interactions in frames, and items row by row, in the order of its files."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

USER = "user_id"
ITEM = "item_id"
TIME = "timestamp"
RATING = "rating"

ItemRow = tuple[str, object, Mapping[str, object] | None]
"""The place of an item in its file, such as `line 3`, its id, and its attributes; None where it is not wanted."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """What a file of interactions calls its columns; `rating` is None where no rating is read."""

    user: str = USER
    item: str = ITEM
    time: str = TIME
    rating: str | None = RATING

    @property
    def names(self) -> list[str]:
        """All that are read."""
        return [name for name in (self.user, self.item, self.time, self.rating) if name is not None]


@dataclass(frozen=True, slots=True)
class ItemColumns:
    """What to read of a file of items.

    Args:
        item: the column of the id, for forms that do not fix it.
        attributes: attribute name -> column; empty: every column but the id.
        lists: attributes whose cells hold several values, for forms whose cells are text.
        wanted: the ids that have interactions; forms with huge metadata parse no others.
    """

    item: str
    attributes: Mapping[str, str]
    lists: Container[str]
    wanted: Container[str]
