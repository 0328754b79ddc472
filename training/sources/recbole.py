"""RecBole atomic files: tab-separated, with a type behind each column's name (`item_id:token`)."""

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from training.sources.source import ITEM, Source, collect_items
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

    def parse(name: str, text: str | None) -> object:
        return text.split() if text and name in list_attributes else text

    rows = (
        (row[LINE], row[ITEM], {name: parse(name, row[column]) for name, column in columns.items()})
        for row in table.iter_rows(named=True)
    )
    attributes = collect_items(items, rows)
    return Source(check_interactions(_read(interactions), interactions), attributes, tuple(columns))


def _read(path: Path) -> pl.DataFrame:
    return read_table(path, "\t").rename(lambda name: name.split(":")[0])
