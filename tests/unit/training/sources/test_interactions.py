"""`llmemb_training.sources.interactions`: codes, whatever the frames, and repetitions."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.sources.interactions import code_interactions, drop_repeated
from llmemb_training.sources.source import ITEM, TIME, USER

Rows = list[tuple[str, str, float]]
ROWS = st.lists(st.tuples(st.text("aé\U0001f600z", max_size=2), st.text("ab", max_size=3), st.sampled_from([1.0, 2.5])))


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={USER: pl.String, ITEM: pl.String, TIME: pl.Float64}, orient="row")


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


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([1.0, 2.0])), max_size=40))
def test_first_of_repeated_interactions_is_kept(rows: list[tuple[int, int, float]]) -> None:
    """The same item at another time is no repetition; the order stays."""
    coded = pl.DataFrame(rows, schema={USER: pl.UInt32, ITEM: pl.UInt32, TIME: pl.Float64}, orient="row")

    assert drop_repeated(coded).rows() == list(dict.fromkeys(rows))
