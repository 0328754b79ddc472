"""RecBole atomic files: tab-separated, with a type after each column's name (`item_id:token`)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmemb_training.sources.interactions import check_interactions
from llmemb_training.sources.items import to_plain_text
from llmemb_training.sources.source import ITEM, InteractionColumns, ItemColumns, ItemRow
from llmemb_training.sources.table import read_table, table_items


def read_recbole_interactions(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions of an `*.inter` file.

    Raises:
        DataError: the file, a column or a line cannot be used; names the file and the line.
    """
    fixed = InteractionColumns()
    return check_interactions(_read(path), path, fixed if columns.rating else replace(fixed, rating=None))


def read_recbole_items(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read the items of an `*.item` file; spaces separate the values of a list.

    Raises:
        DataError: the file, a column or a line cannot be used; names the file and the line.
    """
    return to_plain_text(table_items(path, _read(path), replace(columns, item=ITEM), None))


def _read(path: Path) -> Iterator[pl.DataFrame]:
    return (frame.rename(lambda name: name.split(":")[0]) for frame in read_table(path, "\t"))
