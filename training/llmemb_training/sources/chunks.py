"""Read text files, optionally gzipped, in chunks of whole lines, in bounded memory."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from llmemb.errors import DataError

DAMAGED = (OSError, EOFError, zlib.error)
"""Errors raised for a missing file or a damaged gzip file."""
CHUNK_BYTES = 1 << 24
LONGEST_RECORD = 1 << 28
_HEAD_BYTES = 64
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LINE_END = re.compile(rb"\r\n?|\n")
# A quote opens a quoted value only where a field begins; anywhere else it is a character, as in `Tablet 10" grey`.
_QUOTED = rb'"(?:[^"]++|"")*+"'
_FIELD = rb"(?:" + _QUOTED + rb'|(?:[^",\n][^,\n]*+)?+)'
_ROWS = re.compile(rb"(?:(?:" + _FIELD + rb",)*+" + _FIELD + rb"\r?+\n)*+")
_REGULAR = re.compile(rb"(?:(?:" + _QUOTED + rb'|[^",\n]*+)(?:,|\r?+\n))*+')
_QUOTED_OR_STRAY = re.compile(
    rb"(?:^|(?<=,))(?:" + _QUOTED + rb'|([^",\n][^",\n]*+"(?:[^,\r\n]|\r(?!\n))*+))', re.MULTILINE
)
_WRONGLY_CLOSED = re.compile(rb"(?:" + _FIELD + rb",)*+" + _QUOTED + rb'(?=[^",\r\n]|\r[^\n])')


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file.

    Args:
        line: number of the first line in the file, from 1.
        data: the lines with their line ends; the last line of the file may have none.
    """

    line: int
    data: bytes

    @property
    def num_lines(self) -> int:
        """Number of lines, including a last line without a line end."""
        return self.data.count(b"\n") + (self.data != b"" and not self.data.endswith(b"\n"))


@contextmanager
def open_source(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file for reading, after a byte order mark; decompress it if it is gzipped.

    Raises:
        DataError: the file cannot be read, or is in UTF-16.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.peek(_HEAD_BYTES)[:_HEAD_BYTES]
            if head.startswith(_UTF16_MARKS):
                raise DataError(f"{path}: the text is in UTF-16; save it as UTF-8")
            if b"\0" in head:
                raise DataError(
                    f"{path}: there are null bytes, as in UTF-16 or in a file that is no text; save it as UTF-8"
                )
            if head.startswith(codecs.BOM_UTF8):
                file.seek(len(codecs.BOM_UTF8))
            yield cast(IO[bytes], file)
    except DAMAGED as error:
        raise DataError(f"{path}: {error}") from error


def read_chunks(path: Path, quoted: bool = False, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Read a file in chunks; if its first line ends with CR alone, CR ends all lines and is replaced by LF.

    Args:
        path: the file.
        quoted: whether the lines are rows of CSV, in which a newline between quotes is part of a value; a chunk never
            ends there.
        size: approximate size of a chunk in bytes.

    Raises:
        DataError: the file cannot be read, a line has no end within `LONGEST_RECORD`, or a quoted value is not closed.
    """
    line, rest = 1, b""
    with open_source(path) as file:
        ends_with_cr = False
        # Twice as much each time the row goes on: what was read before is scanned again.
        while block := file.read(min(max(size, len(rest)), LONGEST_RECORD + 1 - len(rest))):
            if line == 1 and not rest:
                ends_with_cr = _ends_with_cr(block)
            if ends_with_cr:
                block = block.replace(b"\r", b"\n")
            data = rest + block
            end = _rows_end(path, line, data) if quoted else data.rfind(b"\n") + 1
            if end:
                yield Chunk(line, data[:end])
            line += data.count(b"\n", 0, end)
            rest = data[end:]
            if len(rest) > LONGEST_RECORD:
                fault = "a quote that opens here is not closed" if quoted else "the line does not end"
                raise DataError(f"{path}: line {line}: {fault} within {LONGEST_RECORD >> 20} MiB")
    if rest:
        if quoted and not _rows_end(path, line, rest + b"\n"):
            raise DataError(f"{path}: line {line}: a quote that opens here is not closed")
        yield Chunk(line, rest)


def quote_stray(data: bytes) -> bytes:
    """Return rows of CSV with each value that contains a quote in quotes, and its own quotes doubled.

    Polars counts quotes to find the ends of rows, so it cannot read `Tablet 10" grey` as it is.
    """
    if b'"' not in data or _REGULAR.fullmatch(data if data.endswith(b"\n") else data + b"\n"):
        return data
    return _QUOTED_OR_STRAY.sub(
        lambda match: match[0] if match[1] is None else b'"' + match[1].replace(b'"', b'""') + b'"', data
    )


def _ends_with_cr(block: bytes) -> bool:
    """Return whether the first line of a file ends with CR alone, outside quotes."""
    first = _LINE_END.search(block)
    return (
        first is not None
        and first[0] == b"\r"
        and first.end() < len(block)
        and block.count(b'"', 0, first.start()) % 2 == 0
    )


def _rows_end(path: Path, line: int, data: bytes) -> int:
    """Return the end position of the last complete row of CSV; 0 if there is none.

    Raises:
        DataError: the row after these has text after the end of a quoted value.
    """
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    rows = _ROWS.match(data)
    assert rows is not None  # the pattern matches the empty text
    if _WRONGLY_CLOSED.match(data, rows.end()):
        line += data.count(b"\n", 0, rows.end())
        fault = "text follows the closing quote of a value"
        raise DataError(f'{path}: line {line}: {fault}; inside quotes, write a quote twice (""), not as \\" or alone')
    return rows.end()
