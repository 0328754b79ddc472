"""What every source gives: interactions and items, in the order of its files."""

from dataclasses import dataclass

import polars as pl

from llmemb.item import AttributeValue

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
