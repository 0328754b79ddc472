"""`llmemb_training.sources.generic`: the plain form, and the line that each fault is named by."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmemb.errors import DataError
from llmemb_training.sources import chunks
from llmemb_training.sources.source import InteractionColumns
from tests.support.sources import Source, read_folder, write_file

HEADER = "user_id,item_id,timestamp\n"
ITEMS = (
    '{"item_id": "a", "title": "Heat", "year": 1995, "genres": ["Action", "Crime"]}\n'
    '{"item_id": "b", "title": "Up", "year": null, "genres": []}\n'
)
IDS = ("a", "b", "c", "010")


def read(
    folder: Path,
    interactions: str | bytes = HEADER + "u,a,1\n",
    items: str | bytes = ITEMS,
    attributes: Mapping[str, str] | None = None,
    suffix: str = "",
) -> Source:
    """Write both files and read them."""
    write_file(folder / f"interactions.csv{suffix}", interactions)
    write_file(folder / f"items.jsonl{suffix}", items)
    return read_folder(folder, attributes=attributes, ids=IDS)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_source_has_interactions_and_attributes(tmp_path: Path, suffix: str) -> None:
    """Ids are strings, times are numbers, attributes keep their order; all in the order of the files."""
    source = read(tmp_path, HEADER + "u2,b,12\nu1,a,1.5\n", suffix=suffix)

    assert source.interactions == [("u2", "b", 12.0), ("u1", "a", 1.5)]
    assert source.attributes == {
        "a": {"title": "Heat", "year": "1995", "genres": ("Action", "Crime")},
        "b": {"title": "Up"},
    }
    assert source.attribute_names == ("title", "year", "genres")


def test_numeric_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    """An id is no number: its zeros stay."""
    source = read(tmp_path, HEADER + "007,010,1\n", '{"item_id": "010", "title": "Up"}\n')

    assert source.interactions == [("007", "010", 1.0)]


def test_columns_in_another_order_and_others_beside_them_do_not_matter(tmp_path: Path) -> None:
    """The header says which column is which."""
    source = read(tmp_path, "rating,timestamp,item_id,user_id\n5,1,a,u\n")

    assert source.interactions == [("u", "a", 1.0)]


def test_wanted_columns_are_renamed_and_ordered(tmp_path: Path) -> None:
    """A mapping chooses the attributes, their names and their order; the rest is left out."""
    source = read(tmp_path, attributes={"kinds": "genres", "name": "title"})

    assert source.attributes["a"] == {"kinds": ("Action", "Crime"), "name": "Heat"}
    assert source.attribute_names == ("kinds", "name")


@pytest.mark.parametrize(
    "attributes",
    [{}, {"title": ""}, {"title": None, "genres": []}, {"title": "  "}, {"genres": [None, "", " "]}],
)
def test_item_without_text_is_left_out(tmp_path: Path, attributes: dict[str, object]) -> None:
    """An item that says nothing is no fault of its line."""
    source = read(tmp_path, items=ITEMS + json.dumps({"item_id": "c", **attributes}) + "\n")

    assert sorted(source.attributes) == ["a", "b"]


def test_blank_lines_between_items_are_skipped_and_counted(tmp_path: Path) -> None:
    """A blank line of the items is no item, and later lines keep their numbers."""
    with pytest.raises(DataError, match=r"items\.jsonl: line 5: not JSON"):
        read(tmp_path, items=ITEMS + "\n  \nno\n")


WRONGLY_CLOSED = (
    'text follows the closing quote of a value; inside quotes, write a quote twice (""), not as \\" or alone'
)


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("u,a,1\nu,b,2,3\n", 3, "4 fields, but the header has 3"),
        ("u,a,1\nu,b\n", 3, "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not None"),
        ("u,a,1\nu\n", 3, "item_id is empty"),
        ("u,a,1\n\nu,b,2\n", 3, "user_id is empty"),
        ("u,a,1\nu,,2\n", 3, "item_id is empty"),
        (",a,1\n", 2, "user_id is empty"),
        ('u,"",1\n', 2, "item_id is empty"),
        (
            "u,a,1\r\nu,b,late\r\n",
            3,
            "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'late'",
        ),
        ("u,a,nan\n", 2, "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'nan'"),
        ("u,a,inf\n", 2, "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'inf'"),
        ("u,a,1\nu,b,\n", 3, "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not None"),
        ('u,a,1\nu,"b,2\nu,a,3\n', 3, "a quote that opens here is not closed"),
        ('u,a,1\n"u\n\nv",a,1\nu,"b"c,2\n', 6, WRONGLY_CLOSED),
        ('u,a,1\nu,"b\\"c\\"",2\n', 3, WRONGLY_CLOSED),
        ('u,a,1\nu,"b\\"",2\nv,"c",3\n', 3, WRONGLY_CLOSED),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_interaction_is_named_by_its_line(tmp_path: Path, body: str, line: int, message: str, suffix: str) -> None:
    """Each fault of the CSV file says the file, the line as an editor counts it, and what is wrong."""
    with pytest.raises(DataError) as caught:
        read(tmp_path, HEADER + body, suffix=suffix)

    assert str(caught.value) == f"{tmp_path}/interactions.csv{suffix}: line {line}: {message}"


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("mark", ["nan", "NaN", "None", "null", "NULL", "<NA>", "\\N"])
def test_missing_id_that_a_program_wrote_is_named(tmp_path: Path, column: str, mark: str) -> None:
    """Otherwise one user has the interactions of all who are unknown."""
    row = f"{mark},a,1\n" if column == "user_id" else f"u,{mark},1\n"
    with pytest.raises(DataError) as caught:
        read(tmp_path, HEADER + "u,a,1\n" * 240 + row)

    assert str(caught.value) == (
        f"{tmp_path}/interactions.csv: line 242: {column} must be an id, not {mark!r}, which programs write for a "
        "missing value: remove such lines"
    )


def test_empty_user_far_down_is_named_by_its_line(tmp_path: Path) -> None:
    """One in 300 lines is an error, as all are."""
    with pytest.raises(DataError, match=r"interactions\.csv: line 242: user_id is empty$"):
        read(tmp_path, HEADER + "u,a,1\n" * 240 + ",a,1\n" + "u,a,1\n" * 60)


def test_words_that_hold_a_mark_are_ids(tmp_path: Path) -> None:
    """Nan, a first name, and `n/a` are what somebody chose."""
    assert read(tmp_path, HEADER + "Nan,a,1\n").interactions == [("Nan", "a", 1)]


def test_interaction_that_is_not_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    """Latin-1 text is found by its line."""
    with pytest.raises(DataError, match=r"interactions\.csv: line 3: not UTF-8$"):
        read(tmp_path, HEADER.encode() + b"u,a,1\nu,Am\xe9lie,2\n")


@pytest.mark.parametrize("missing", ["user_id", "item_id", "timestamp"])
def test_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    """A header without one of the three columns is refused."""
    with pytest.raises(DataError, match=f"no column '{missing}'"):
        read(tmp_path, HEADER.replace(missing, "other") + "u,a,1\n")


@pytest.mark.parametrize("content", ["", "\n"])
def test_empty_interactions_are_refused(tmp_path: Path, content: str) -> None:
    """A file with nothing in it is said to be empty."""
    with pytest.raises(DataError, match=r"interactions\.csv: the file is empty$"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: "),
        ("nonsense", "not JSON: "),
        (b'{"item_id": "c", "title": "Am\xe9lie"}', "not JSON: 'utf-8' codec can't decode"),
        ('["c", "Up"]', "must be a JSON object, not list"),
        ("3", "must be a JSON object, not int"),
        ('{"title": "Up"}', "id: must be a string of 1 to 256 characters"),
        ('{"item_id": "", "title": "Up"}', "id: must be a string of 1 to 256 characters"),
        ('{"item_id": 3, "title": "Up"}', "id: must be a string of 1 to 256 characters"),
        ('{"item_id": "a", "title": "Up"}', "item_id 'a' occurs earlier in the file"),
        ('{"item_id": "c", "title": {"en": "Up"}}', "attributes.title: must be a string, a number or a list of these"),
        ('{"item_id": "c", "genres": ["a", ["b"]]}', "attributes.genres[1]: must be a string, a number or a list"),
        ('{"item_id": "c", "price": NaN}', "attributes.price: must be a finite number, not nan"),
        ('{"item_id": "c", "title": "\\ud800"}', "attributes.title: holds half of a surrogate pair"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_item_is_named_by_its_line(tmp_path: Path, line: str | bytes, message: str, suffix: str) -> None:
    """Each fault of the items says the file, the line and what is wrong."""
    data = ITEMS.encode() + (line if isinstance(line, bytes) else line.encode()) + b"\n"

    with pytest.raises(DataError) as caught:
        read(tmp_path, items=data, suffix=suffix)

    assert str(caught.value).startswith(f"{tmp_path}/items.jsonl{suffix}: line 3: {message}")


def test_item_that_stands_twice_is_refused_though_one_has_no_text(tmp_path: Path) -> None:
    """Which of the two lines counts is not for us to say."""
    with pytest.raises(DataError, match=r"line 4: item_id 'c' occurs earlier in the file"):
        read(tmp_path, items=ITEMS + '{"item_id": "c"}\n{"item_id": "c", "title": "Up"}\n')


@pytest.mark.parametrize("name", ["interactions.csv.gz", "items.jsonl.gz"])
@pytest.mark.parametrize("damage", ["cut off", "no gzip"])
def test_damaged_gzip_is_named(tmp_path: Path, name: str, damage: str) -> None:
    """A download that was cut off, or is no gzip at all, is an error that names the file."""
    read(tmp_path, HEADER + "u,a,1\n" * 5000, ITEMS, suffix=".gz")
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-20] if damage == "cut off" else b"<html>not found</html>\n")

    with pytest.raises(DataError, match=name):
        read_folder(tmp_path)


def test_line_is_right_past_the_first_chunk(tmp_path: Path) -> None:
    """A file that is read in pieces keeps its lines, and ids in different pieces are the same ids."""
    rows = chunks.CHUNK_BYTES // len("u,a,1\n") + 1000
    source = read(tmp_path, HEADER + "u,a,1\n" * rows + "v,b,2\nu,a,3\n")

    assert len(source.interactions) == rows + 2
    assert source.interactions[-3:] == [("u", "a", 1.0), ("v", "b", 2.0), ("u", "a", 3.0)]

    with pytest.raises(
        DataError,
        match=f"line {rows + 3}: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'late'",
    ):
        read(tmp_path, HEADER + "u,a,1\n" * rows + "v,b,2\nu,a,late\n")


def test_newlines_in_quotes_do_not_shift_lines(tmp_path: Path) -> None:
    """A review of several lines is one value, and the lines after it are counted as an editor counts them."""
    body = 'u,a,1,"one\ntwo ""quoted""\n\nfour"\nv,b,2,"x"\n'
    source = read(tmp_path, "user_id,item_id,timestamp,review\n" + body)

    assert source.interactions == [("u", "a", 1.0), ("v", "b", 2.0)]

    with pytest.raises(
        DataError, match="line 7: timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'late'"
    ):
        read(tmp_path, "user_id,item_id,timestamp,review\n" + body + "u,b,late,\n")


def test_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Spreadsheets begin a file with it."""
    assert read(tmp_path, "\ufeff" + HEADER + "u,a,1\n").interactions == [("u", "a", 1.0)]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    """The configuration says what the columns that decide are called, in both files."""
    write_file(tmp_path / "interactions.csv", "who,what,when,stars\nu,a,1,5\nu,b,2,3\n")
    write_file(tmp_path / "items.jsonl", ITEMS.replace("item_id", "what"))
    columns = InteractionColumns("who", "what", "when", "stars")
    source = read_folder(tmp_path, columns=columns, min_rating=4)

    assert source.interactions == [("u", "a", 1.0)]
    assert source.low_rated == 1
    assert source.attributes["a"]["title"] == "Heat"
    assert source.attribute_names == ("title", "year", "genres")


def test_rating_must_be_there_and_a_number(tmp_path: Path) -> None:
    """Where ratings decide, a missing one is a fault."""
    write_file(tmp_path / "items.jsonl", ITEMS)
    write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\n")
    with pytest.raises(DataError, match="no column 'rating'; required columns: user_id, item_id, timestamp, rating"):
        read_folder(tmp_path, min_rating=4)

    write_file(tmp_path / "interactions.csv", "user_id,item_id,timestamp,rating\nu,a,1,5\nu,a,2,good\n")
    with pytest.raises(DataError, match="line 3: rating must be a finite number, not 'good'"):
        read_folder(tmp_path, min_rating=4)


def test_column_that_no_item_has_is_named(tmp_path: Path) -> None:
    """A misspelt key of JSON objects would otherwise be an attribute that is always missing."""
    with pytest.raises(DataError, match=r"items\.jsonl: no item has a value of 'titel', the column of title$"):
        read(tmp_path, attributes={"title": "titel", "genres": "genres"})
