"""Delimited text -> strings, with errors that name the line."""

import csv
import gzip
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from training.sources.source import ITEM, TIME, USER

LINE = "line"


def read_table(path: Path, separator: str) -> pl.DataFrame:
    """Read a delimited file with a header, perhaps gzipped: every column a string, and `line`, its number in the file.

    Raises:
        DataError: the file cannot be read, or a line has more fields than the header.
    """
    try:
        # Quotes mean something in CSV only; a tab-separated title may hold one.
        frame = pl.read_csv(
            path,
            separator=separator,
            infer_schema=False,
            quote_char='"' if separator == "," else None,
            row_index_name=LINE,
            row_index_offset=2,
        )
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: {_ragged_line(path, separator) or error}") from error
    return frame


def _ragged_line(path: Path, separator: str) -> str | None:
    """Find the first line that has more fields than the header."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            header = next(reader)
            for fields in reader:
                if len(fields) > len(header):
                    return f"line {reader.line_num}: {len(fields)} fields, but the header has {len(header)}"
    except (OSError, ValueError, csv.Error, StopIteration):
        return None
    return None


def check_interactions(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Turn the string columns `user_id`, `item_id`, `timestamp` (and `line`) into checked interactions.

    Raises:
        DataError: a column is missing, a value is empty, or a time is no finite number; names the line.
    """
    missing = [name for name in (USER, ITEM, TIME) if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; the header must hold {USER}, {ITEM} and {TIME}")
    for name in (USER, ITEM):
        _refuse(frame, pl.col(name).is_null() | (pl.col(name) == ""), path, f"{name} is empty")
    time = pl.col(TIME).cast(pl.Float64, strict=False)
    _refuse(frame, time.is_null() | ~time.is_finite(), path, f"{TIME} must be a finite number", show=TIME)
    return frame.select(USER, ITEM, time)


def _refuse(frame: pl.DataFrame, fault: pl.Expr, path: Path, message: str, show: str | None = None) -> None:
    bad = frame.filter(fault).head(1)
    if bad.height:
        value = "" if show is None else f", not {bad[show][0]!r}"
        raise DataError(f"{path}: line {bad[LINE][0]}: {message}{value}")
