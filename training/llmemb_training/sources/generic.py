"""The generic format: `interactions` and `items`, each as `.csv[.gz]`, `.jsonl[.gz]` or `.parquet`."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import polars.selectors as cs

from llmemb.errors import DataError
from llmemb_training.sources.interactions import check_interactions
from llmemb_training.sources.items import to_plain_text
from llmemb_training.sources.json_lines import read_json_columns, read_json_objects
from llmemb_training.sources.source import InteractionColumns, ItemColumns, ItemRow
from llmemb_training.sources.table import LINE, ids_to_text, read_table, table_items

_BATCH_ROWS = 1 << 18


def read_generic_interactions(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions.

    Raises:
        DataError: the file, a column or a line cannot be used; names the file and the line.
    """
    if path.suffix == ".parquet":
        return check_interactions(_parquet_interactions(path, columns), path, columns, unit="row")
    if ".jsonl" in path.suffixes:
        return check_interactions(read_json_columns(path, columns.names), path, columns)
    return check_interactions(read_table(path, ","), path, columns)


def read_generic_items(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read items; in CSV and in text cells of Parquet, `|` separates the values of a list.

    Raises:
        DataError: the file, a column or a line cannot be used; names the file and the line.
    """
    if ".jsonl" in path.suffixes:
        return to_plain_text(_json_items(path, columns))
    if path.suffix == ".parquet":
        frames = (frame.with_columns(_numbers()) for frame in _read_parquet(path))
        return to_plain_text(table_items(path, frames, columns, "|", unit="row"))
    return to_plain_text(table_items(path, read_table(path, ","), columns, "|"))


def _numbers() -> pl.Expr:
    """Return the columns of fractions with their shortest decimals, as JSON has them, and null where there is none.

    A Float32 of 12.1 would otherwise be 12.100000381469727.
    """
    fractions = cs.float() | cs.decimal()
    return fractions.cast(pl.String).cast(pl.Float64).fill_nan(None)


def _json_items(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    for line, row in read_json_objects(path):
        item_id = row.pop(columns.item, None)
        wanted = columns.attributes
        yield f"line {line}", item_id, {name: row.get(key) for name, key in wanted.items()} if wanted else row


def _parquet_interactions(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read interactions; ids are converted to text."""
    return (ids_to_text(frame, [columns.user, columns.item]) for frame in _read_parquet(path, columns.names))


def _read_parquet(path: Path, names: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """Yield batches of the existing columns and `LINE`, the row number from 1; at least one frame."""
    row = 1
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        chosen = [name for name in schema if names is None or name in names]
        yield pl.DataFrame(schema={name: schema[name] for name in chosen} | {LINE: pl.Int64})
        for frame in table.select(chosen).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
            yield frame.with_columns(pl.int_range(row, row + frame.height).alias(LINE))
            row += frame.height
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
