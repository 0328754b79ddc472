"""Read text files, optionally gzipped, in chunks of whole lines, in bounded memory."""

import gzip
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
    """Open a file for reading; decompress it if it is gzipped.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except DAMAGED as error:
        raise DataError(f"{path}: {error}") from error


def read_chunks(path: Path, quoted: bool = False, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Read a file in chunks.

    Args:
        path: the file.
        quoted: whether a newline between quotes is part of a value, as in CSV; a chunk never ends there.
        size: approximate size of a chunk in bytes.

    Raises:
        DataError: the file cannot be read, or a line has no end within `LONGEST_RECORD`.
    """
    line, rest = 1, b""
    with open_source(path) as file:
        while block := file.read(size):
            data = rest + block
            end = _last_end(data, quoted)
            if end:
                yield Chunk(line, data[:end])
            line += data.count(b"\n", 0, end)
            rest = data[end:]
            if len(rest) > LONGEST_RECORD:
                fault = "a quote that opens here or later is not closed" if quoted else "the line does not end"
                raise DataError(f"{path}: line {line}: {fault} within {LONGEST_RECORD >> 20} MiB")
    if rest:
        yield Chunk(line, rest)


def _last_end(data: bytes, quoted: bool) -> int:
    """Return the end position of the last complete line; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    # Outside a quoted value, the number of quotes so far is even: doubled quotes inside a value count twice.
    quotes = data.count(b'"', 0, end)
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end
