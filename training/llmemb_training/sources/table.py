"""Delimited text and Parquet: tables with errors that name the line, and the items of a table."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from llmemb.errors import DataError
from llmemb_training.sources.chunks import Chunk, quote_stray, read_chunks
from llmemb_training.sources.source import ItemColumns, ItemRow

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
LINE = "(line)"
"""Column of line numbers; the parentheses distinguish it from columns of the source."""


def read_table(
    path: Path, separator: str, names: Sequence[str] = (), recode: Callable[[bytes], bytes] = bytes
) -> Iterator[pl.DataFrame]:
    """Read a delimited file, optionally gzipped: yield at least one frame, with string columns and `LINE`.

    Args:
        path: the file.
        separator: one character. Quoting applies to "," only, because tab-separated titles may contain quotes, and only
            to a value that begins with a quote.
        names: column names, for a file without a header.
        recode: converts the file's bytes to UTF-8 text with that separator, line by line.

    Raises:
        DataError: the file cannot be read, another character separates its columns, or a line has more fields than the
            header.
    """
    header = (separator.join(names) + "\n").encode()
    empty = True
    for chunk in read_chunks(path, quoted=separator == ","):
        line, data = chunk.line, recode(chunk.data)
        if empty and not names:
            header, _, data = data.partition(b"\n")
            header, line = header + b"\n", 2
            _check_separator(path, header, separator)
        empty = False
        yield _parse(path, separator, header, Chunk(line, data))
    if empty:
        raise DataError(f"{path}: the file is empty")


def _check_separator(path: Path, header: bytes, separator: str) -> None:
    """Refuse a header with more of another separator."""
    names = _SEPARATORS if separator == "," else _SEPARATORS | {" ": "spaces"}
    found = max(names, key=lambda each: header.count(each.encode()))
    if header.count(found.encode()) > header.count(separator.encode()):
        wanted = f"{names[separator]} between them" + (" and points in decimals" if separator == "," else "")
        raise DataError(f"{path}: the columns are separated by {names[found]}; save the file with {wanted}")


def _parse(path: Path, separator: str, header: bytes, chunk: Chunk) -> pl.DataFrame:
    try:
        frame = pl.read_csv(
            quote_stray(header + chunk.data) if separator == "," else header + chunk.data,
            separator=separator,
            infer_schema=False,
            quote_char='"' if separator == "," else None,
        )
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: {_bad_line(separator, header, chunk) or error}") from error
    lines = pl.int_range(chunk.line, chunk.line + frame.height)
    if frame.height != chunk.num_lines:
        # Newlines inside quoted values shift the numbers of the lines after them.
        breaks = pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True).fill_null(0)).cast(pl.Int64)
        lines += breaks.cum_sum().shift(1, fill_value=0)
    return frame.with_columns(lines.alias(LINE))


def _bad_line(separator: str, header: bytes, chunk: Chunk) -> str | None:
    """Return a message for the first line that is not UTF-8, or has more fields than the header."""
    text = io.StringIO(chunk.data.decode("utf-8", "surrogateescape"), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    names = next(csv.reader([header.decode("utf-8", "replace")], delimiter=separator, quoting=quoting))
    reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
    line = chunk.line
    try:
        for fields in reader:
            if any("\udc80" <= character <= "\udcff" for character in "".join(fields)):
                return f"line {line}: not UTF-8"
            if len(fields) > len(names):
                return f"line {line}: {len(fields)} fields, but the header has {len(names)}"
            line = chunk.line + reader.line_num
    except csv.Error as error:
        return f"line {line}: {error}"
    return None


def ids_to_text(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Convert the existing id columns among `names` to text, whatever their type; the number 7.0 becomes `7`."""
    texts = []
    for name in frame.columns:
        if name in names:
            column = pl.col(name)
            text = column.cast(pl.String)
            if frame.schema[name].is_float():
                whole = column.cast(pl.Int64, strict=False)
                text = pl.when(whole == column).then(whole.cast(pl.String)).otherwise(text)
            texts.append(text.alias(name))
    return frame.with_columns(texts)


def table_items(
    path: Path, frames: Iterable[pl.DataFrame], columns: ItemColumns, between: str | None, unit: str = "line"
) -> Iterator[ItemRow]:
    """Return the items of frames.

    Args:
        path: the file.
        frames: at least one frame, with `LINE`.
        columns: the columns to read.
        between: separator of the values of a list in a text cell; None: spaces.
        unit: the unit of `LINE`, for messages.

    Raises:
        DataError: a column is missing.
    """
    for frame in frames:
        known = [name for name in frame.columns if name != LINE]
        wanted = columns.attributes or {name: name for name in known if name != columns.item}
        for column in (columns.item, *wanted.values()):
            if column not in known:
                raise DataError(f"{path}: no column {column!r}; it has {', '.join(known)}")
        for row in ids_to_text(frame, [columns.item]).iter_rows(named=True):
            raw = {name: _value(row[column], name in columns.lists, between) for name, column in wanted.items()}
            yield f"{unit} {row[LINE]}", row[columns.item], raw


def _value(cell: object, is_list: bool, between: str | None) -> object:
    if is_list and isinstance(cell, str):
        return [part.strip() for part in cell.split(between)]
    return cell
