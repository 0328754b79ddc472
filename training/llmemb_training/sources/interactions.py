"""Check interactions frame by frame and encode their ids as integers, so that each id string is stored once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb_training.sources.source import ITEM, RATING, TIME, USER, InteractionColumns
from llmemb_training.sources.table import LINE

_TIME_FORM = "a finite number or a date such as 2023-11-14T22:13:20Z"
_DATE = (
    r"(?i)^(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[t ](?P<minute>\d\d:\d\d)(?P<second>:\d\d(?:\.\d{1,9})?)?"
    r"(?: ?(?:z|utc|(?P<hours>[+-]\d\d)(?::?(?P<minutes>\d\d))?))?)?$"
)
_MISSING = ("nan", "NaN", "None", "null", "NULL", "<NA>", "\\N")
_MISSING_HINT = ", which programs write for a missing value: remove such lines"
_UNITS = ((1e8, "seconds"), (1e11, "milliseconds"), (1e14, "microseconds"), (1e17, "nanoseconds"))
"""Smallest number that is taken for a time in each unit since 1970: 3 March 1973."""
_PART_ROWS = 1 << 22
_WHOLE_NUMBER = r"^(?:0|-?[1-9][0-9]*)(?:\.0)?$"


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions in file order, with encoded ids.

    Args:
        frame: columns `user_id` and `item_id` (UInt32, positions in the ids below) and `timestamp` (Int64 if all times
            are whole numbers, otherwise Float64).
        user_ids: sorted by their UTF-8 bytes.
        item_ids: also sorted by their UTF-8 bytes.
        read: number of interactions in the file.
        low_rated: number of interactions dropped because of their rating.
    """

    frame: pl.DataFrame
    user_ids: pl.Series
    item_ids: pl.Series
    read: int
    low_rated: int


def check_interactions(
    frames: Iterable[pl.DataFrame], path: Path, columns: InteractionColumns, unit: str = "line"
) -> Iterator[pl.DataFrame]:
    """Check frames of raw columns and `LINE`; yield ids, `timestamp` and optionally `rating` as numbers.

    Args:
        frames: frames whose ids are strings, whose ratings are strings or numbers, and whose times may also be dates.
        path: the file.
        columns: names of the columns.
        unit: the unit of `LINE`, for messages.

    Raises:
        DataError: a column is missing, an id is empty or the mark of a missing value, a time is neither a finite number
            nor a date, or a rating is not a finite number; names the line.
    """
    refuse = partial(_refuse, path, unit)
    for frame in frames:
        _require(frame, path, columns.names)
        for name in (columns.user, columns.item):
            refuse(frame, pl.col(name).is_null() | (pl.col(name) == ""), f"{name} is empty")
            refuse(frame, pl.col(name).is_in(_MISSING), f"{name} must be an id", name, _MISSING_HINT)
        times = read_times(frame[columns.time])
        refuse(frame, pl.lit(~times.is_finite()), f"{columns.time} must be {_TIME_FORM}", show=columns.time)
        checked = [pl.col(columns.user).alias(USER), pl.col(columns.item).alias(ITEM), times.alias(TIME)]
        if columns.rating is not None:
            rating = pl.col(columns.rating).cast(pl.Float64, strict=False)
            refuse(frame, ~rating.is_finite(), f"{columns.rating} must be a finite number", show=columns.rating)
            checked.append(rating.alias(RATING))
        yield frame.select(checked)


def read_times(column: pl.Series) -> pl.Series:
    """Return times as numbers: Int64 if all are whole numbers, otherwise Float64; null where a value is no time.

    Dates, also as ISO 8601 text, become Unix seconds; without a zone they are in UTC, and without a time they are
    midnight.
    """
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.timestamp("us") / 1e6
    if column.dtype.is_integer() or column.dtype == pl.String:
        whole = column.cast(pl.Int64, strict=False)
        if not whole.null_count():
            return whole
    number = column.cast(pl.Float64, strict=False)
    if column.dtype == pl.String and number.null_count():
        number = number.zip_with(number.is_not_null(), _parse_dates(column))
    return number


def _parse_dates(column: pl.Series) -> pl.Series:
    parts = column.str.extract_groups(_DATE).struct.unnest()
    text = pl.format(
        "{}T{}{}{}{}",
        "day",
        pl.col("minute").fill_null("00:00"),
        pl.col("second").fill_null(":00"),
        pl.col("hours").fill_null("+00"),
        pl.col("minutes").fill_null("00"),
    )
    dates = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return parts.select(dates.dt.timestamp("us") / 1e6).to_series()


def code_interactions(frames: Iterable[pl.DataFrame], min_rating: float | None) -> Interactions:
    """Encode the ids of checked frames, and drop interactions rated lower than `min_rating`.

    If all ids of a column are whole numbers, `7.0` is `7`: programs write `7.0` beside a missing value.
    """
    users, items = pl.Categorical(pl.Categories.random("users")), pl.Categorical(pl.Categories.random("items"))
    # Polars drops its category codes when no column uses them: these two empty columns keep them alive.
    holders = (pl.Series(dtype=users), pl.Series(dtype=items))
    parts, read, kept = [pl.DataFrame(schema={USER: pl.UInt32, ITEM: pl.UInt32, TIME: pl.Int64})], 0, 0
    for frame in frames:
        high = frame if min_rating is None else frame.filter(pl.col(RATING) >= min_rating)
        read, kept = read + frame.height, kept + high.height
        parts.append(high.select(pl.col(USER).cast(users).to_physical(), pl.col(ITEM).cast(items).to_physical(), TIME))
    (user_ids, user_ranks), (item_ids, item_ranks) = (_sort_ids(holder) for holder in holders)
    for i, part in enumerate(parts):
        coded = [
            pl.Series(name, ranks[part[name].to_numpy()]) for name, ranks in ((USER, user_ranks), (ITEM, item_ranks))
        ]
        parts[i] = part.with_columns(coded)
    return Interactions(pl.concat(parts, how="vertical_relaxed", rechunk=True), user_ids, item_ids, read, read - kept)


def mixed_units(times: pl.Series) -> str | None:
    """Return a warning if times seem to be in several units since 1970, with an example of each; otherwise None."""
    bounds = [smallest for smallest, _ in _UNITS] + [float("inf")]
    found = []
    for (smallest, unit), end in zip(_UNITS, bounds[1:], strict=True):
        inside = times.is_between(smallest, end, closed="left")
        if count := int(inside.sum()):
            found.append(f"{count:,} in {unit} such as {times.filter(inside)[0]}")
    return f"warning: the times seem to be in several units: {', '.join(found)}" if len(found) > 1 else None


def drop_repeated(interactions: pl.DataFrame) -> pl.DataFrame:
    """Drop interactions with the same user, item and time as an earlier one; keep the order."""
    first = np.empty(interactions.height, dtype=np.bool_)
    num_parts = interactions.height // _PART_ROWS + 1
    # In blocks of users, because all rows at once would take several times their memory.
    part_of_row = interactions[USER].to_numpy() % np.uint32(num_parts)
    for part in range(num_parts):
        rows = np.flatnonzero(part_of_row == part)
        first[rows] = interactions[rows].select(pl.struct(USER, ITEM, TIME).is_first_distinct()).to_series().to_numpy()
    return interactions.filter(first)


def _sort_ids(holder: pl.Series) -> tuple[pl.Series, NDArray[np.uint32]]:
    """Return the sorted ids of a column, and the position of each code's id among them."""
    dtype = holder.dtype
    assert isinstance(dtype, pl.Categorical)
    ids = dtype.categories.to_series()
    if ids.str.ends_with(".0").any() and ids.str.contains(_WHOLE_NUMBER).all():
        ids = ids.str.strip_suffix(".0")
        return ids.unique().sort(), (ids.rank("dense") - 1).cast(pl.UInt32).to_numpy()
    order = ids.arg_sort().to_numpy()
    ranks = np.empty(len(order), dtype=np.uint32)
    ranks[order] = np.arange(len(order), dtype=np.uint32)
    return ids.gather(order), ranks


def _require(frame: pl.DataFrame, path: Path, names: list[str]) -> None:
    for name in names:
        if name not in frame.columns:
            known = ", ".join(column for column in frame.columns if column != LINE)
            raise DataError(
                f"{path}: no column {name!r}; required columns: {', '.join(names)}; columns in the file: {known}"
            )


def _refuse(
    path: Path, unit: str, frame: pl.DataFrame, fault: pl.Expr, message: str, show: str | None = None, hint: str = ""
) -> None:
    bad = frame.filter(fault.fill_null(value=True)).head(1)
    if bad.height:
        value = "" if show is None else f", not {bad[show][0]!r}"
        raise DataError(f"{path}: {unit} {bad[LINE][0]}: {message}{value}{hint}")
