"""`llmemb_training.sources.yelp`: businesses, and reviews by date."""

import json
from pathlib import Path

import pytest

from llmemb.errors import DataError
from tests.support.sources import read_folder, write_file

BUSINESS = {
    "business_id": "b1",
    "name": "Acme Oyster House",
    "address": "724 Iberville St",
    "city": "New Orleans",
    "state": "LA",
    "latitude": 29.95,
    "stars": 4.0,
    "attributes": {"BikeParking": "True"},
    "categories": "Live/Raw Food, Seafood,Restaurants",
    "hours": None,
}


def write(folder: Path, *dates: str | None) -> Path:
    """A review for each date, of a user named by its number, rated by it too."""
    reviews = [
        {"review_id": "r", "user_id": f"u{i}", "business_id": "b1", "stars": i, "text": "x\n", "date": date}
        for i, date in enumerate(dates, start=1)
    ]
    businesses = [BUSINESS, {"business_id": "b2", "name": "Elsewhere", "categories": None}]
    for name, rows in (("review", reviews), ("business", businesses)):
        write_file(folder / f"yelp_academic_dataset_{name}.json", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_source_is_read(tmp_path: Path) -> None:
    """Dates become seconds, categories a list; coordinates and ids are no attributes."""
    source = read_folder(write(tmp_path, "1970-01-01 00:01:00", "2018-07-07 22:09:11"))

    assert source.files.format == "yelp"
    assert source.interactions == [("u1", "b1", 60.0), ("u2", "b1", 1531001351.0)]
    assert source.attributes == {
        "b1": {
            "name": "Acme Oyster House",
            "categories": ("Live/Raw Food", "Seafood", "Restaurants"),
            "city": "New Orleans",
            "state": "LA",
        }
    }
    assert source.counts["items_without_interactions"] == 1


def test_stars_may_decide_and_attributes_be_chosen(tmp_path: Path) -> None:
    """Any key with a text or a number may be an attribute."""
    source = read_folder(
        write(tmp_path, "1970-01-01 00:01:00", "1970-01-01 00:02:00"), min_rating=2, attributes={"street": "address"}
    )

    assert source.interactions == [("u2", "b1", 120.0)]
    assert source.attributes == {"b1": {"street": "724 Iberville St"}}


@pytest.mark.parametrize("date", ["yesterday", "07.07.2018", None, "2018-13-07 22:09:11"])
def test_bad_date_is_named_by_its_line(tmp_path: Path, date: str | None) -> None:
    """The message shows what a date looks like."""
    write(tmp_path, "1970-01-01 00:01:00", date)

    with pytest.raises(
        DataError,
        match=r"review\.json: line 2: date must be a finite number or a date such as 2023-11-14T22:13:20Z, not ",
    ):
        read_folder(tmp_path)
