"""`llmemb_training.sources.amazon`: three years of dumps, as they were published."""

import json
from pathlib import Path

import pytest

from llmemb.errors import DataError
from llmemb_training.sources.amazon import clean
from tests.support.sources import Source, read_folder, write_file

REVIEWS = [
    {"reviewerID": "A1", "asin": "B1", "reviewText": "x\ny", "overall": 5.0, "unixReviewTime": 1393545600},
    {"reviewerID": "A2", "asin": "B2", "overall": 2.0, "unixReviewTime": 1393545601, "helpful": [0, 1]},
]
EXPECTED = [("A1", "B1", 1393545600.0), ("A2", "B2", 1393545601.0)]
META_2014 = [
    {
        "asin": "B1",
        "title": "Salt &amp; <b>Pepper</b>",
        "price": 6.99,
        "imUrl": "http://x/y.jpg",
        "related": {"also_bought": ["B2"]},
        "categories": [["Kitchen", "Spices"], ["Kitchen", "Gifts"]],
        "brand": "O'Neil \"s",
    },
    {"asin": "B2", "description": "It's\na mill.", "title": "Mill", "categories": [["Kitchen"]]},
]


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_2014(folder: Path, meta: str) -> Source:
    write_file(folder / "reviews_Kitchen_5.json.gz", lines(REVIEWS))
    write_file(folder / "meta_Kitchen.json.gz", meta)
    return read_folder(folder)


def read_2018(folder: Path, meta: list[dict[str, object]], attributes: dict[str, str] | None = None) -> Source:
    write_file(folder / "Kitchen_5.json.gz", lines(REVIEWS))
    write_file(folder / "meta_Kitchen.json.gz", lines(meta))
    return read_folder(folder, attributes=attributes)


def test_2014_is_read_from_python_literals(tmp_path: Path) -> None:
    """Paths of categories become one list, entities and tags go, and links and ids are no attributes."""
    source = read_2014(tmp_path, "".join(f"{row!r}\n" for row in META_2014))

    assert source.files.format == "amazon_2014"
    assert source.interactions == EXPECTED
    assert source.attributes == {
        "B1": {"title": "Salt & Pepper", "brand": "O'Neil \"s", "categories": ("Kitchen", "Spices", "Gifts")},
        "B2": {"title": "Mill", "categories": ("Kitchen",), "description": "It's a mill."},
    }
    assert source.attribute_names == ("title", "brand", "categories", "description")


def test_2014_is_never_run(tmp_path: Path) -> None:
    """A line that is code, not a literal, is a fault."""
    trap = tmp_path / "trap"

    with pytest.raises(DataError, match=r"meta_Kitchen\.json\.gz: line 2: not a Python literal"):
        read_2014(tmp_path, f"{META_2014[0]!r}\n{{'title': open({str(trap)!r}, 'w')}}\n")

    assert not trap.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'asin': 'B1', 'title': ", "not a Python literal"),
        ("['B1']", "must be a Python dict, not list"),
        ("{'title': 'Mill'}", "id: must be a string of 1 to 256 characters"),
        ("{'asin': 'B1', 'title': {'en': 'Mill'}}", "attributes.title: must be a string, a number or a list"),
        ("(" * 2000, "not a Python literal"),
    ],
)
def test_bad_2014_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """Each fault says the file and the line."""
    with pytest.raises(DataError, match=rf"meta_Kitchen\.json\.gz: line 2: {message}"):
        read_2014(tmp_path, f"{META_2014[1]!r}\n{line}\n")


def test_items_without_interactions_are_not_parsed(tmp_path: Path) -> None:
    """The metadata of a category describes far more items than a file of reviews knows."""
    other = "{'asin': 'B9', 'title': this would be an error}\n{'title': 'Late', 'asin': 'B8'}\n"
    source = read_2014(tmp_path, other + f"{META_2014[0]!r}\n")

    assert list(source.attributes) == ["B1"]
    assert source.counts == {
        "items_read": 3,
        "items_repeated": 0,
        "items_without_interactions": 2,
        "items_without_text": 0,
    }


def test_2018_is_read(tmp_path: Path) -> None:
    """Paragraphs become one text; of two lines with one id the first counts; a scraped script is no title."""
    meta: list[dict[str, object]] = [
        {
            "asin": "B1",
            "title": "Mill",
            "brand": " by\n  Acme",
            "category": ["Kitchen", "Mills"],
            "description": ["a", "b"],
        },
        {"asin": "B1", "title": "Again", "category": []},
        {"asin": "B2", "title": "var aPageStart = (new Date()).getTime();", "brand": "", "category": [], "rank": ["x"]},
        {"asin": "B3", "title": "Never reviewed"},
    ]
    source = read_2018(tmp_path, meta)

    assert source.files.format == "amazon_2018"
    assert source.interactions == EXPECTED
    assert source.attributes == {
        "B1": {"title": "Mill", "brand": "by Acme", "categories": ("Kitchen", "Mills"), "description": "a b"}
    }
    assert source.counts == {
        "items_read": 4,
        "items_repeated": 1,
        "items_without_interactions": 1,
        "items_without_text": 1,
    }


def test_attributes_may_be_chosen(tmp_path: Path) -> None:
    """Any key of the metadata may be one."""
    meta: list[dict[str, object]] = [{"asin": "B1", "title": "Mill", "price": "$5.00", "feature": ["Steel", "Steel"]}]
    source = read_2018(tmp_path, meta, {"cost": "price", "features": "feature"})

    assert source.attributes == {"B1": {"cost": "$5.00", "features": ("Steel",)}}


def test_2023_is_read(tmp_path: Path) -> None:
    """Variants count as their parent; times are milliseconds; a low rating may be left out."""
    review = {"user_id": "U", "asin": "V1", "parent_asin": "P1", "rating": 5.0, "timestamp": 1588687728923}
    write_file(tmp_path / "Beauty.jsonl.gz", lines([review, review | {"user_id": "W", "rating": 1.0}]))
    meta = {
        "parent_asin": "P1",
        "title": "Brush",
        "store": "Acme",
        "main_category": "All Beauty",
        "categories": [],
        "features": ["Soft", "Small"],
        "description": ["One.", "Two."],
        "price": None,
        "images": [{"thumb": "http://x"}],
        "details": {"Brand": "Acme"},
    }
    write_file(tmp_path / "meta_Beauty.jsonl.gz", lines([meta]))

    assert read_folder(tmp_path).files.format == "amazon_2023"
    assert len(read_folder(tmp_path).interactions) == 2
    source = read_folder(tmp_path, min_rating=3)
    assert source.interactions == [("U", "P1", 1588687728923.0)]
    assert source.low_rated == 1
    assert source.attributes == {
        "P1": {"title": "Brush", "brand": "Acme", "features": ("Soft", "Small"), "description": "One. Two."}
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a  <br/>b &lt; c", "a b < c"),
        ("3 < 4 > 2", "3 < 4 > 2"),
        ([["a", "b"], ["a", ["c"]]], ["a", "b", "c"]),
        ([None, "a"], [None, "a"]),
        (3.5, 3.5),
        (None, None),
    ],
)
def test_cleaning(value: object, expected: object) -> None:
    """Texts are cleaned, lists are flat and without repetition, other values stay for the item's checks."""
    assert clean("categories", value) == expected


def test_bad_review_is_named_by_its_line(tmp_path: Path) -> None:
    """A review without a time."""
    write_file(tmp_path / "Kitchen.json", lines([REVIEWS[0], {"reviewerID": "A", "asin": "B1"}]))
    write_file(tmp_path / "meta_Kitchen.json", lines([{"asin": "B1", "title": "Mill"}]))

    with pytest.raises(
        DataError, match=r"Kitchen\.json: line 2: unixReviewTime must be a finite number or a date such as .*, not None"
    ):
        read_folder(tmp_path)
