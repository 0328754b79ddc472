"""Files of lines, perhaps gzipped, in chunks of whole lines: a file of any size in bounded memory."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from llmemb.errors import DataError

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a file raises that is missing, or no whole gzip."""
CHUNK_BYTES = 1 << 24
LONGEST_RECORD = 1 << 28


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file.

    Args:
        line: number in the file of its first line, from 1.
        data: the lines with their ends; the last line of the file may have none.
    """

    line: int
    data: bytes

    @property
    def num_lines(self) -> int:
        """How many there are, a last one without an end among them."""
        return self.data.count(b"\n") + (self.data != b"" and not self.data.endswith(b"\n"))


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


def read_chunks(path: Path, quoted: bool = False, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Read a file in chunks.

    Args:
        path: the file.
        quoted: whether a newline between quotes is part of a value, as in CSV, and ends no chunk.
        size: about how many bytes a chunk has.

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
                fault = "a quote opens here or later that has no end" if quoted else "the line has no end"
                raise DataError(f"{path}: line {line}: {fault} within {LONGEST_RECORD >> 20} MiB")
    if rest:
        yield Chunk(line, rest)


def _last_end(data: bytes, quoted: bool) -> int:
    """Return where the last whole line ends, 0 where none does."""
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    # Outside of quotes their number is even: doubled quotes inside a value count twice.
    quotes = data.count(b'"', 0, end)
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end
