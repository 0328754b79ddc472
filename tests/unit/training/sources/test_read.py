"""`training.sources.read`: which form a folder has."""

from pathlib import Path
from typing import Literal

import pytest

from llmemb.errors import DataError
from training.sources import read_source, source_files

GENERIC = {
    "interactions.csv": "user_id,item_id,timestamp\nu,g,1\n",
    "items.jsonl": '{"item_id": "g", "title": "Up"}\n',
}
RECBOLE = {
    "x.inter": "user_id:token\titem_id:token\ttimestamp:float\nu\tr\t1\n",
    "x.item": "item_id:token\ttitle:token\nr\tHeat\n",
}
Format = Literal["auto", "recbole", "generic"]


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("files", "wanted", "found"),
    [
        (GENERIC, "auto", "generic"),
        (GENERIC, "generic", "generic"),
        (RECBOLE, "auto", "recbole"),
        (RECBOLE, "recbole", "recbole"),
        (GENERIC | RECBOLE, "generic", "generic"),
        (GENERIC | RECBOLE, "recbole", "recbole"),
    ],
)
def test_form_is_found_by_its_files(tmp_path: Path, files: dict[str, str], wanted: Format, found: str) -> None:
    """`auto` looks which files are there; a named form reads its own, whatever else there is."""
    names = list(GENERIC if found == "generic" else RECBOLE)

    assert source_files(make(tmp_path, files), wanted) == (found, tmp_path / names[0], tmp_path / names[1])


def test_gzipped_files_are_found(tmp_path: Path) -> None:
    """Each of the two generic files may be gzipped."""
    make(tmp_path, {"interactions.csv.gz": "", "items.jsonl": ""})

    assert source_files(tmp_path, "auto") == ("generic", tmp_path / "interactions.csv.gz", tmp_path / "items.jsonl")


@pytest.mark.parametrize(("files", "item"), [(GENERIC, "g"), (RECBOLE, "r")])
def test_source_is_read_in_its_own_form(tmp_path: Path, files: dict[str, str], item: str) -> None:
    """The reader fits the files."""
    source = read_source(make(tmp_path, files), "auto", {}, ())

    assert source.interactions.rows() == [("u", item, 1.0)]
    assert list(source.attributes) == [item]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, "auto"),
        ({"interactions.csv": ""}, "auto"),
        ({"x.inter": "", "y.inter": "", "x.item": ""}, "auto"),
        ({"interactions.csv": "", "interactions.csv.gz": "", "items.jsonl": ""}, "auto"),
        (GENERIC, "recbole"),
        (RECBOLE, "generic"),
    ],
)
def test_folder_without_one_source_is_refused(tmp_path: Path, files: dict[str, str], wanted: Format) -> None:
    """A file that is missing or there twice: the error says what a source is."""
    with pytest.raises(DataError, match=f"^{tmp_path} holds no source: it needs one interactions"):
        source_files(make(tmp_path, files), wanted)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is not there holds no source."""
    with pytest.raises(DataError, match="holds no source"):
        read_source(tmp_path / "none", "auto", {}, ())
