"""`llmemb_training.sources.recbole`: typed headers, tabs, and quotes that mean nothing."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from llmemb.errors import DataError
from tests.support.sources import Source, read_folder

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEMS = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAnimation Comedy\n2\tHeat\t\n"


def read(
    folder: Path,
    interactions: str = HEADER + "u\t1\t5\t8\n",
    items: str = ITEMS,
    attributes: Mapping[str, str] | None = None,
    lists: Collection[str] = (),
) -> Source:
    """Write both files and read them."""
    (folder / "x.inter").write_text(interactions, encoding="utf-8")
    (folder / "x.item").write_text(items, encoding="utf-8")
    return read_folder(folder, attributes=attributes, lists=lists, ids=("1", "2", "3", "4"))


def test_source_has_interactions_and_attributes(tmp_path: Path) -> None:
    """The types behind the names go; without a mapping every column is a text attribute."""
    source = read(tmp_path, HEADER + "u2\t2\t1\t9.5\nu1\t1\t5\t8\n")

    assert source.interactions == [("u2", "2", 9.5), ("u1", "1", 8.0)]
    assert source.attributes == {
        "1": {"movie_title": "Toy Story", "class": "Animation Comedy"},
        "2": {"movie_title": "Heat"},
    }
    assert source.attribute_names == ("movie_title", "class")


def test_words_of_a_list_attribute_are_separate(tmp_path: Path) -> None:
    """A mapping renames; what it calls a list is split at its spaces."""
    source = read(tmp_path, attributes={"genres": "class", "title": "movie_title"}, lists=["genres"])

    assert source.attributes["1"] == {"genres": ("Animation", "Comedy"), "title": "Toy Story"}
    assert source.attribute_names == ("genres", "title")


def test_quotes_are_part_of_a_title(tmp_path: Path) -> None:
    """A quote in a tab-separated file neither opens nor closes anything."""
    source = read(tmp_path, items=ITEMS + '3\t"Marty" and\tRomance\n4\t"Open\tDrama\n')

    assert source.attributes["3"]["movie_title"] == '"Marty" and'
    assert source.attributes["4"] == {"movie_title": '"Open', "class": "Drama"}


@pytest.mark.parametrize("line", ["3\t\t\n", "3\n", "3\t  \t \n"])
def test_item_without_text_is_left_out(tmp_path: Path, line: str) -> None:
    """An item that says nothing is no fault of its line."""
    assert sorted(read(tmp_path, items=ITEMS + line).attributes) == ["1", "2"]


def test_unknown_column_is_named_with_the_known_ones(tmp_path: Path) -> None:
    """A misspelt column lists those that are there."""
    with pytest.raises(DataError, match=r"x\.item: no column 'title'; it has item_id, movie_title, class$"):
        read(tmp_path, attributes={"title": "title"})


def test_another_separator_is_named(tmp_path: Path) -> None:
    """A copy from a terminal has spaces for tabs."""
    with pytest.raises(DataError) as caught:
        read(tmp_path, HEADER.replace("\t", " ") + "u 1 5 8\n")

    fault = "the columns are separated by spaces; save the file with tabs between them"
    assert str(caught.value) == f"{tmp_path}/x.inter: {fault}"


def test_items_without_ids_are_refused(tmp_path: Path) -> None:
    """The items need a column of ids."""
    with pytest.raises(DataError, match=r"x\.item: no column 'item_id'"):
        read(tmp_path, items="movie:token\ttitle:token_seq\n1\tUp\n")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (ITEMS + "\tUp\t\n", "line 4: id: must be a string of 1 to 256 characters"),
        (ITEMS + "1\tUp\t\n", "line 4: item_id '1' occurs earlier in the file"),
        (ITEMS + '3\t"Up\tDrama\n4\tUp\tDrama\tmore\n', "line 5: 4 fields, but the header has 3"),
        ("", "the file is empty"),
    ],
)
def test_bad_item_is_named_by_its_line(tmp_path: Path, items: str, message: str) -> None:
    """Each fault of the items says the file, the line and what is wrong."""
    with pytest.raises(DataError) as caught:
        read(tmp_path, items=items)

    assert str(caught.value) == f"{tmp_path}/x.item: {message}"


@pytest.mark.parametrize(
    ("interactions", "message"),
    [
        (
            HEADER + "u\t1\t5\t8\nu\t1\t5\n",
            "line 3: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not None",
        ),
        (HEADER + "u\t1\t5\t8\t9\n", "line 2: 5 fields, but the header has 4"),
        (HEADER + "u\t\t5\t8\n", "line 2: item_id is empty"),
        (
            HEADER + "u\t1\t5\tnever\n",
            "line 2: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'never'",
        ),
    ],
)
def test_bad_interaction_is_named_by_its_line(tmp_path: Path, interactions: str, message: str) -> None:
    """Each fault of the interactions says the file, the line and what is wrong."""
    with pytest.raises(DataError) as caught:
        read(tmp_path, interactions)

    assert str(caught.value) == f"{tmp_path}/x.inter: {message}"
