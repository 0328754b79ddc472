"""`llmemb_training.sources.read`: which form a folder has."""

from pathlib import Path
from typing import Literal, get_args

import pytest

from llmemb.errors import DataError
from llmemb_training.config import SourceFormat
from llmemb_training.sources import source_files
from llmemb_training.sources.read import Format
from tests.support.sources import read_folder

FILES: list[tuple[Format, str, str]] = [
    ("generic", "interactions.csv", "items.jsonl"),
    ("generic", "interactions.csv.gz", "items.jsonl"),
    ("generic", "interactions.jsonl.gz", "items.csv.gz"),
    ("generic", "interactions.parquet", "items.parquet"),
    ("recbole", "ml-100k.inter", "ml-100k.item"),
    ("movielens", "u.data", "u.item"),
    ("movielens", "ratings.dat", "movies.dat"),
    ("movielens", "ratings.csv", "movies.csv"),
    ("yelp", "yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"),
    ("amazon_2014", "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"),
    ("amazon_2018", "Industrial_and_Scientific_5.json.gz", "meta_Industrial_and_Scientific.json.gz"),
    ("amazon_2023", "All_Beauty.jsonl.gz", "meta_All_Beauty.jsonl.gz"),
    ("amazon_2023", "All_Beauty.jsonl", "meta_All_Beauty.jsonl"),
]
Wanted = Format | Literal["auto"]


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(("form", "interactions", "items"), FILES)
@pytest.mark.parametrize("named", [True, False])
def test_form_is_found_by_its_files(tmp_path: Path, form: Format, interactions: str, items: str, named: bool) -> None:
    """`auto` looks which files are there, whatever stands beside them; a named form looks for its own."""
    make(tmp_path, interactions, items, "README.md", "tags.csv", "u1.base", "ml-100k.user")

    found = source_files(tmp_path, form if named else "auto")

    assert found == (form, (tmp_path / interactions,), tmp_path / items)


def test_every_form_is_tested_and_can_be_configured() -> None:
    """The names of the forms are those of the configuration."""
    assert {form for form, _, _ in FILES} == set(get_args(Format)) == set(get_args(SourceFormat))


@pytest.mark.parametrize(("wanted", "found"), [("auto", "generic"), ("recbole", "recbole"), ("generic", "generic")])
def test_named_form_reads_its_own_of_two(tmp_path: Path, wanted: Wanted, found: str) -> None:
    """A folder may hold the same catalogue twice."""
    make(tmp_path, "interactions.csv", "items.jsonl", "x.inter", "x.item")

    assert source_files(tmp_path, wanted).format == found


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("a.train.inter", "a.valid.inter", "a.test.inter"), ("a.test.inter", "a.train.inter", "a.valid.inter")),
        (("a.part1.inter", "a.part2.inter"), ("a.part1.inter", "a.part2.inter")),
        (("a.train.inter", "a.test.inter", "a.inter"), ("a.inter",)),
        (("a.train.inter",), ("a.train.inter",)),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "recbole"])
def test_parts_of_a_split_source_are_one(
    tmp_path: Path, wanted: Wanted, names: tuple[str, ...], used: tuple[str, ...]
) -> None:
    """RecBole writes a file for each part of a split; the whole holds them all."""
    make(tmp_path, *names, "a.item", "a.user")

    assert source_files(tmp_path, wanted).interactions == tuple(tmp_path / name for name in used)


@pytest.mark.parametrize(
    "names",
    [
        ("a.train.inter", "ab.test.inter", "a.item"),
        ("a.train.inter", "a.test.inter", "a.item", "b.item"),
        (),
        ("interactions.csv",),
        ("x.inter", "y.inter", "x.item"),
        ("interactions.csv", "interactions.csv.gz", "items.jsonl"),
        ("reviews_A.json.gz", "reviews_B.json.gz", "meta_A.json.gz"),
    ],
)
def test_folder_without_one_source_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A file that is missing or there twice."""
    with pytest.raises(DataError, match=f"^{tmp_path} holds no source, or several: one file of interactions and one"):
        source_files(make(tmp_path, *names), "auto")


def test_named_form_says_what_it_found(tmp_path: Path) -> None:
    """The error lists the candidates."""
    make(tmp_path, "x.inter", "y.inter", "items.jsonl")

    with pytest.raises(DataError, match=r"no recbole source: .* there are x\.inter, y\.inter; .* there are none;"):
        source_files(tmp_path, "recbole")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is not there holds no source."""
    with pytest.raises(DataError, match="holds no source"):
        read_folder(tmp_path / "none")
