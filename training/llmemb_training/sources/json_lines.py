"""JSON lines -> frames of strings, or objects one by one, with errors that name the line."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from llmemb_training.sources.chunks import Chunk, read_chunks
from llmemb_training.sources.table import LINE


def read_json_columns(path: Path, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Read some keys of each object as strings, null where one is missing, and `LINE`, its number in the file.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    schema = dict.fromkeys(names, pl.String)
    yield pl.DataFrame(schema=schema | {LINE: pl.Int64})
    for chunk in read_chunks(path):
        if not chunk.data.strip():
            continue
        try:
            frame = pl.read_ndjson(io.BytesIO(chunk.data), schema=schema)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{path}: {_bad_line(path, chunk) or error}") from error
        yield frame.with_columns(pl.Series(LINE, _lines(chunk, frame.height)))


def read_json_objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Return the line and the object of each line that is not blank.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    for chunk in read_chunks(path):
        for line, text in enumerate(chunk.data.split(b"\n"), start=chunk.line):
            if text.strip():
                yield line, _parse(path, line, text)


def _parse(path: Path, line: int, text: bytes) -> dict[str, object]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: line {line}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {line}: must be a JSON object, not {type(row).__name__}")
    return row


def _lines(chunk: Chunk, height: int) -> Sequence[int]:
    """Return the line number of each row; blank lines are not rows."""
    if height == chunk.num_lines:
        return range(chunk.line, chunk.line + height)
    return [line for line, text in enumerate(chunk.data.split(b"\n"), start=chunk.line) if text.strip()]


def _bad_line(path: Path, chunk: Chunk) -> str | None:
    """Return a message for the first line that is not a JSON object."""
    for line, text in enumerate(chunk.data.split(b"\n"), start=chunk.line):
        if text.strip():
            try:
                _parse(path, line, text)
            except DataError as error:
                return str(error).removeprefix(f"{path}: ")
            if b"NaN" in text or b"Infinity" in text:
                return f"line {line}: not JSON: NaN and Infinity are not JSON numbers"
    return None
