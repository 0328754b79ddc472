"""RecBole atomic files: tab-separated, with a type behind each column's name (`item_id:token`)."""

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import AttributeValue, parse_attributes, parse_item_id
from training.sources.source import ITEM, Source
from training.sources.table import LINE, check_interactions, read_table


def read_recbole(
    interactions: Path, items: Path, columns: Mapping[str, str], list_attributes: Collection[str]
) -> Source:
    """Read an `*.inter` and an `*.item` file.

    Args:
        interactions: needs the columns `user_id`, `item_id` and `timestamp`.
        items: needs the column `item_id`.
        columns: attribute name -> column; empty: every column but `item_id`.
        list_attributes: attributes whose words are separate values; in all others they are one text.

    Raises:
        DataError: a column is missing or a line cannot be used; names the file and the line.
    """
    table = _read(items)
    columns = columns or {name: name for name in table.columns if name not in (ITEM, LINE)}
    for column in (ITEM, *columns.values()):
        if column not in table.columns:
            known = ", ".join(name for name in table.columns if name != LINE)
            raise DataError(f"{items}: no column {column!r}; it has {known}")
    attributes: dict[str, dict[str, AttributeValue]] = {}
    for row in table.iter_rows(named=True):
        raw = {name: row[column] or "" for name, column in columns.items()}
        try:
            item_id = parse_item_id(row[ITEM])
            if any(raw.values()):
                attributes[item_id] = parse_attributes(
                    {name: text.split() if name in list_attributes else text for name, text in raw.items()}
                )
        except InvalidItemError as error:
            raise DataError(f"{items}: line {row[LINE]}: {error}") from error
    return Source(check_interactions(_read(interactions), interactions), attributes, tuple(columns))


def _read(path: Path) -> pl.DataFrame:
    return read_table(path, "\t").rename(lambda name: name.split(":")[0])
