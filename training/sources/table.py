"""Delimited text -> strings, with errors that name the line."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

import polars as pl

from llmemb.errors import DataError
from training.sources.source import ITEM, TIME, USER

LINE = "line"
DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a file raises that is missing, or no whole gzip."""


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
    except (pl.exceptions.PolarsError, *DAMAGED) as error:
        raise DataError(f"{path}: {_bad_line(path, separator) or error}") from error
    return frame


@contextmanager
def open_source(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked where it is gzipped.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except DAMAGED as error:
        raise DataError(f"{path}: {error}") from error


def _bad_line(path: Path, separator: str) -> str | None:
    """Find the first line that is not UTF-8, has a quote without its end, or more fields than the header."""
    with open_source(path) as file, io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="") as text:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
        line, width = 1, None
        try:
            for fields in reader:
                if any("\udc80" <= character <= "\udcff" for character in "".join(fields)):
                    return f"line {line}: not UTF-8"
                width = width or len(fields)
                if len(fields) > width:
                    return f"line {line}: {len(fields)} fields, but the header has {width}"
                line = reader.line_num + 1
        except csv.Error as error:
            return f"line {line}: {error}"
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
