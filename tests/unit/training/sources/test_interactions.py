"""`llmemb_training.sources.interactions`: codes, whatever the frames, and repetitions."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.sources.interactions import (
    check_interactions,
    code_interactions,
    drop_repeated,
    mixed_units,
    read_times,
)
from llmemb_training.sources.source import ITEM, TIME, USER, InteractionColumns
from llmemb_training.sources.table import LINE

SECOND = timedelta(seconds=1)

Rows = list[tuple[str, str, float]]
ROWS = st.lists(st.tuples(st.text("aé\U0001f600z", max_size=2), st.text("ab", max_size=3), st.sampled_from([1.0, 2.5])))


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={USER: pl.String, ITEM: pl.String, TIME: pl.Float64}, orient="row")


def frame_of_times(times: list[str]) -> pl.DataFrame:
    """Raw interactions of one user with one item."""
    return pl.DataFrame({TIME: times}, schema={TIME: pl.String}).with_columns(
        pl.lit("u").alias(USER), pl.lit("a").alias(ITEM), pl.lit(1).alias(LINE)
    )


@given(st.lists(ROWS, max_size=6))
def test_codes_are_positions_in_the_sorted_ids(frames: list[Rows]) -> None:
    """However interactions are cut into frames, an id has one code, and codes are in the order of the ids' bytes."""
    read = code_interactions((frame(rows) for rows in frames), None)
    rows = [row for part in frames for row in part]

    assert read.read == read.frame.height == len(rows)
    assert read.user_ids.to_list() == sorted({user for user, _, _ in rows}, key=str.encode)
    assert read.item_ids.to_list() == sorted({item for _, item, _ in rows})
    assert [(read.user_ids[user], read.item_ids[item], time) for user, item, time in read.frame.rows()] == rows


@given(st.lists(st.lists(st.tuples(st.integers(-12, 12), st.booleans()), max_size=9), max_size=3))
def test_whole_numbers_have_no_decimal_point(frames: list[list[tuple[int, bool]]]) -> None:
    """`7.0` and `7` are one id if a column has only whole numbers, in any frame."""
    written = [[("u", f"{number}.0" if point else f"{number}", 1.0) for number, point in rows] for rows in frames]
    read = code_interactions((frame(rows) for rows in written), None)
    numbers = [str(number) for rows in frames for number, _ in rows]

    assert read.item_ids.to_list() == sorted(set(numbers))
    assert [read.item_ids[item] for item in read.frame[ITEM]] == numbers


@pytest.mark.parametrize("other", ["a", "1.5", "07", "1.00", "", "-0.0"])
def test_ids_that_are_no_numbers_stay_as_they_are_written(other: str) -> None:
    """One other id, and `1.0` may be a version."""
    read = code_interactions([frame([("u", "1.0", 1.0), ("u", other, 1.0)])], None)

    assert read.item_ids.to_list() == sorted(["1.0", other])


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), max_size=3))
def test_whole_times_are_exact(frames: list[list[int]]) -> None:
    """Nanoseconds since 1970 do not fit a float: those less than 256 apart would be one time."""
    texts = [frame_of_times([str(time) for time in times]) for times in frames]
    read = code_interactions(check_interactions(texts, Path("x"), InteractionColumns(rating=None)), None)

    assert read.frame[TIME].to_list() == [time for times in frames for time in times]


@pytest.mark.parametrize("texts", [["1", "2.5"], ["2.5", "1"], ["1e3", "1"], ["1970-01-01T00:01:00Z", "7"]])
def test_one_time_that_is_not_whole_makes_all_floats(texts: list[str]) -> None:
    """Whole numbers and others may be in one column, in one frame or in several."""
    frames = [frame_of_times([text]) for text in texts]
    for parts in (frames, [pl.concat(frames)]):
        read = code_interactions(check_interactions(parts, Path("x"), InteractionColumns(rating=None)), None)

        assert read.frame[TIME].dtype == pl.Float64
        assert read.frame[TIME].to_list() == [60.0 if "T" in text else float(text) for text in texts]


DATES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
ZONES = st.timezones() | st.integers(-14 * 60 + 1, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(DATES, st.sampled_from(["T", " "]), st.sampled_from(["auto", "seconds", "minutes", "milliseconds"]), ZONES)
def test_iso_dates_are_unix_seconds(date: datetime, between: str, precision: str, zone: tzinfo) -> None:
    """With a zone and without, to the microsecond; without one a date is in UTC."""
    plain = date.isoformat(between, precision)
    offset = zone.utcoffset(date) or timedelta(0)
    local = date.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1)))).isoformat(
        between, precision
    )
    for text in (plain, plain + "Z", plain + " UTC", local, local[:-3] + local[-2:]):
        read = datetime.fromisoformat(text.replace(" UTC", "Z"))
        expected = read if read.tzinfo else read.replace(tzinfo=UTC)

        assert read_times(pl.Series([text])).to_list() == [(expected - datetime(1970, 1, 1, tzinfo=UTC)) / SECOND]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14", 1699920000.0),
        ("2023-11-14t22:13:20z", 1700000000.0),
        ("2023-11-14 22:13:20+00", 1700000000.0),
        ("2023-11-14T22:13:20.5Z", 1700000000.5),
        ("1969-12-31T23:59:59Z", -1.0),
        ("14.11.2023", None),
        ("11/14/2023", None),
        ("2023-13-01", None),
        ("2023-11-14T25:00:00Z", None),
        ("2023-11-14T22:13:20 CET", None),
        ("Tue Nov 14 2023", None),
    ],
)
def test_date_without_a_time_is_midnight_and_others_are_no_dates(text: str, seconds: float | None) -> None:
    """Which of two numbers is the month cannot be known, and names of zones are many."""
    assert read_times(pl.Series([text])).to_list() == [seconds]


@pytest.mark.parametrize(
    ("times", "warning"),
    [
        (
            [1_700_000_000, 1_700_000_100_000, -5],
            "1 in seconds such as 1700000000, 1 in milliseconds such as 1700000100000",
        ),
        (
            [1.7e15, 1.7e9, 1.8e9, 1.7e18],
            "2 in seconds such as 1700000000.0, 1 in microseconds such as 1700000000000000.0, "
            "1 in nanoseconds such as 1.7e+18",
        ),
        ([0, 5, -5, 99_999_999, 1_700_000_000], None),
        ([1_700_000_000_000, 200_000_000_000], None),
        ([-(2**63), 2**63 - 1], None),
        ([1, 2, 3], None),
        ([], None),
    ],
)
def test_times_in_several_units_are_noticed(times: list[float], warning: str | None) -> None:
    """By their sizes; positions, small numbers and times before 1970 are in no unit."""
    expected = warning and f"warning: the times seem to be in several units: {warning}"

    assert mixed_units(pl.Series(times, dtype=None if times else pl.Int64)) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([1.0, 2.0])), max_size=40))
def test_first_of_repeated_interactions_is_kept(rows: list[tuple[int, int, float]]) -> None:
    """The same item at another time is no repetition; the order stays."""
    coded = pl.DataFrame(rows, schema={USER: pl.UInt32, ITEM: pl.UInt32, TIME: pl.Float64}, orient="row")

    assert drop_repeated(coded).rows() == list(dict.fromkeys(rows))
