"""`llmemb_training.sources.movielens`: three layouts, two encodings, one result."""

from pathlib import Path

import pytest

from llmemb.errors import DataError
from tests.support.sources import read_folder, write_file

FLAGS = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
EMPTY = "|".join("0" * 19)


def write_100k(folder: Path) -> None:
    write_file(folder / "u.data", "196\t1\t3\t881250949\n22\t2\t1\t878887116\n")
    lines = [
        f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|{FLAGS}",
        f"2|Miss\xe9rables, Les (1995)|01-Jan-1995|||{EMPTY}",
    ]
    write_file(folder / "u.item", "\n".join([*lines, ""]).encode("latin-1"))


def write_dat(folder: Path, encoding: str) -> None:
    write_file(folder / "ratings.dat", "196::1::3::881250949\n22::2::1::878887116\n")
    lines = "1::Toy Story (1995)::Animation|Children's|Comedy\n2::Miss\xe9rables, Les (1995)::\n"
    write_file(folder / "movies.dat", lines.encode(encoding))


def write_csv(folder: Path) -> None:
    write_file(
        folder / "ratings.csv", "userId,movieId,rating,timestamp\r\n196,1,3.0,881250949\r\n22,2,1.0,878887116\r\n"
    )
    lines = "movieId,title,genres\r\n1,Toy Story (1995),Animation|Children's|Comedy\r\n"
    write_file(folder / "movies.csv", lines + '2,"Miss\xe9rables, Les (1995)",(no genres listed)\r\n')


@pytest.mark.parametrize("layout", ["100K", "1M", "10M", "20M"])
def test_layouts_give_the_same_source(tmp_path: Path, layout: str) -> None:
    """The year leaves the title, genres are a list, and no other column is an attribute."""
    if layout == "100K":
        write_100k(tmp_path)
    elif layout == "20M":
        write_csv(tmp_path)
    else:
        write_dat(tmp_path, "latin-1" if layout == "1M" else "utf-8")
    source = read_folder(tmp_path)

    assert source.files.format == "movielens"
    assert source.interactions == [("196", "1", 881250949.0), ("22", "2", 878887116.0)]
    assert source.attributes == {
        "1": {"title": "Toy Story", "release_year": "1995", "genres": ("Animation", "Children's", "Comedy")},
        "2": {"title": "Miss\xe9rables, Les", "release_year": "1995"},
    }
    assert source.attribute_names == ("title", "release_year", "genres")
    assert read_folder(tmp_path, min_rating=2).interactions == [("196", "1", 881250949.0)]


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Heat (1995)", "Heat", "1995"),
        ("Heat (1995) ", "Heat", "1995"),
        ("Babylon 5", "Babylon 5", None),
        ("unknown", "unknown", None),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", "1995"),
        ("The Office (2005-2013)", "The Office", "2005"),
        ("The Office (2005\u2013 )", "The Office (2005\u2013 )", None),
        ("1984 (1984)", "1984", "1984"),
        ("(1963)", None, "1963"),
    ],
)
def test_year_is_split_off_the_title(tmp_path: Path, text: str, title: str | None, year: str | None) -> None:
    """Only a year in brackets at the end is one."""
    write_file(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n1,1,3.0,8\n")
    write_file(tmp_path / "movies.csv", f"movieId,title,genres\n1,{text},\n")
    expected = {name: value for name, value in (("title", title), ("release_year", year)) if value}

    assert read_folder(tmp_path).attributes == {"1": expected}


def test_attributes_may_be_chosen(tmp_path: Path) -> None:
    """A mapping renames and orders; a missing column is named in the error."""
    write_100k(tmp_path)

    assert read_folder(tmp_path, attributes={"kind": "genres", "name": "title"}).attribute_names == ("kind", "name")
    with pytest.raises(DataError, match=r"u\.item: no column 'imdb_url'; it has title, release_year, genres"):
        read_folder(tmp_path, attributes={"link": "imdb_url"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1::2::3", "line 2: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not None"),
        ("1::2::3::x", "line 2: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'x'"),
        ("1::2::3::4::5", "line 2: 5 fields, but the header has 4"),
        ("::2::3::4", "line 2: userId is empty"),
    ],
)
def test_bad_rating_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    """Each fault says the file and the line."""
    write_dat(tmp_path, "utf-8")
    write_file(tmp_path / "ratings.dat", f"1::1::3::8\n{line}\n")

    with pytest.raises(DataError, match=rf"ratings\.dat: {message}$"):
        read_folder(tmp_path)
