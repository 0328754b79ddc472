"""Items of a table: one row each, whose cells are text or, in Parquet, values."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from training.sources.source import ItemColumns, ItemRow
from training.sources.table import LINE


def table_items(
    path: Path, frames: Iterable[pl.DataFrame], columns: ItemColumns, between: str | None, unit: str = "line"
) -> Iterator[ItemRow]:
    """Return the items of frames.

    Args:
        path: their file.
        frames: at least one; with `LINE`.
        columns: what to read of them.
        between: what stands between the values of a list in a cell of text; None: any spaces.
        unit: what `LINE` counts.

    Raises:
        DataError: a column is missing.
    """
    for frame in frames:
        known = [name for name in frame.columns if name != LINE]
        wanted = columns.attributes or {name: name for name in known if name != columns.item}
        for column in (columns.item, *wanted.values()):
            if column not in known:
                raise DataError(f"{path}: no column {column!r}; it has {', '.join(known)}")
        for row in frame.with_columns(pl.col(columns.item).cast(pl.String)).iter_rows(named=True):
            raw = {name: _value(row[column], name in columns.lists, between) for name, column in wanted.items()}
            yield f"{unit} {row[LINE]}", row[columns.item], raw


def _value(cell: object, is_list: bool, between: str | None) -> object:
    if is_list and isinstance(cell, str):
        return [part.strip() for part in cell.split(between)]
    return cell
