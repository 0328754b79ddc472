"""`llmemb_training.sources.chunks`: whole lines, whatever the size of the pieces that are read."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmemb.errors import DataError
from llmemb_training.sources import chunks
from llmemb_training.sources.chunks import quote_stray, read_chunks
from tests.support.sources import write_file


@pytest.mark.parametrize("suffix", ["", ".gz"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.text("ab\n", max_size=40), size=st.integers(1, 12))
def test_chunks_are_the_file_in_whole_lines(tmp_path: Path, suffix: str, data: str, size: int) -> None:
    """Put together they are the file; each but the last ends a line; each says which line it begins with."""
    found = list(read_chunks(write_file(tmp_path / f"file{suffix}", data), size=size))

    assert b"".join(chunk.data for chunk in found) == data.encode()
    assert all(chunk.data.endswith(b"\n") for chunk in found[:-1])
    assert [chunk.line for chunk in found] == [
        1 + b"".join(chunk.data for chunk in found[:i]).count(b"\n") for i in range(len(found))
    ]
    assert sum(chunk.num_lines for chunk in found) == len(data.splitlines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.text('a"\n,', max_size=6), max_size=8), size=st.integers(1, 20))
def test_no_chunk_ends_inside_quotes(tmp_path: Path, rows: list[str], size: int) -> None:
    """A value with newlines and doubled quotes stays in one piece."""
    data = "".join('"' + row.replace('"', '""') + '"\n' for row in rows).encode()
    found = list(read_chunks(write_file(tmp_path / "file", data), quoted=True, size=size))

    assert b"".join(chunk.data for chunk in found) == data
    assert all(chunk.data.count(b'"') % 2 == 0 for chunk in found)


CELLS = st.lists(st.lists(st.text('ab"\r \n,', max_size=5), min_size=2, max_size=3), max_size=6)


def _write_rows(rows: list[list[str]], line_end: str) -> bytes:
    """Write rows of CSV: a value is quoted only if it has to be, so a quote inside it may stand alone."""

    def write(cell: str) -> str:
        plain = cell[:1] != '"' and not set(cell) & set("\r\n,")
        return cell if plain else '"' + cell.replace('"', '""') + '"'

    return "".join(",".join(map(write, row)) + line_end for row in rows).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=CELLS, line_end=st.sampled_from(["\n", "\r\n"]), size=st.integers(1, 20))
def test_quotes_inside_values_split_no_row(tmp_path: Path, rows: list[list[str]], line_end: str, size: int) -> None:
    """A chunk is rows of the file as a state machine reads them, before and after lone quotes are doubled."""
    data = _write_rows([["x", "y"], *rows], line_end)
    found = list(read_chunks(write_file(tmp_path / "file", data), quoted=True, size=size))
    expected = list(csv.reader(io.StringIO(data.decode(), newline="")))

    assert b"".join(chunk.data for chunk in found) == data
    for convert in (bytes, quote_stray):
        parts = [io.StringIO(convert(chunk.data).decode(), newline="") for chunk in found]
        assert [row for part in parts for row in csv.reader(part, strict=True)] == expected
    assert all(convert(chunk.data).count(b'"') % 2 == 0 for chunk in found)


def test_quote_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    """After a bound the line with the quote is named."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"a" * 64 + b'\nb\n"c')
        file.seek(chunks.LONGEST_RECORD + 2 * chunks.CHUNK_BYTES)
        file.write(b"\n")

    with pytest.raises(DataError, match="line 3: a quote that opens here is not closed within 256 MiB"):
        list(read_chunks(path, quoted=True))
