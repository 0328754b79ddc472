"""What every source gives: interactions and items, in the order of its files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import AttributeValue, parse_item_id, parse_perhaps_no_attributes

USER = "user_id"
ITEM = "item_id"
TIME = "timestamp"


@dataclass(frozen=True, slots=True)
class Source:
    """Interactions and items of a catalogue.

    Args:
        interactions: columns `user_id`, `item_id` (strings) and `timestamp` (float64).
        attributes: item id -> attributes, for every item that has any.
        attribute_names: in the order of the prompt.
    """

    interactions: pl.DataFrame
    attributes: dict[str, dict[str, AttributeValue]]
    attribute_names: tuple[str, ...]


def collect_items(
    path: Path, rows: Iterable[tuple[int, object, Mapping[str, object]]]
) -> dict[str, dict[str, AttributeValue]]:
    """Check items and leave out those without text, which `prepare` reports and which are no fault of their line.

    Args:
        path: their file.
        rows: the line, the id and the raw attributes of each.

    Raises:
        DataError: an id or an attribute cannot be used, or an id stands twice; names the file and the line.
    """
    items: dict[str, dict[str, AttributeValue]] = {}
    seen: set[str] = set()
    for line, raw_id, raw in rows:
        try:
            item_id = parse_item_id(raw_id)
            attributes = parse_perhaps_no_attributes(raw)
        except InvalidItemError as error:
            raise DataError(f"{path}: line {line}: {error}") from error
        if item_id in seen:
            raise DataError(f"{path}: line {line}: item_id {item_id!r} stands in an earlier line too")
        seen.add(item_id)
        if attributes:
            items[item_id] = attributes
    return items
