"""`training.splitting`: order in time, cold items, the tail."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.sources.source import ITEM, TIME, USER
from training.splitting import Split, order_in_time, split, tail_threshold

Rows = list[tuple[str, str, float]]
ROWS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.integers(0, 5).map(float)),
    min_size=1,
    max_size=40,
)
SEEDS = st.integers(0, 100)


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={USER: pl.String, ITEM: pl.String, TIME: pl.Float64}, orient="row")


def ordered(rows: Rows, seed: int = 0) -> pl.DataFrame:
    return order_in_time(frame(rows), np.random.default_rng(seed))


def cut(rows: Rows, cold_share: float, cold_interactions: int = 10, seed: int = 0) -> Split:
    return split(ordered(rows), cold_share, cold_interactions, np.random.default_rng(seed))


def named(parts: Split, rows: list[int]) -> list[str]:
    return [parts.item_ids[row] for row in rows]


@given(ROWS, SEEDS)
def test_order_is_by_user_and_time_and_loses_nothing(rows: Rows, seed: int) -> None:
    """Each user's interactions stand together, the oldest first."""
    result = ordered(rows, seed).rows()

    assert sorted(result) == sorted(rows)
    assert [(user, time) for user, _, time in result] == sorted((user, time) for user, _, time in rows)


def test_equal_times_stand_in_an_order_of_the_seed() -> None:
    """The same seed gives the same order, another seed another one, and neither is the source's."""
    rows = [("u", f"{number:02}", 1.0) for number in range(20)]

    assert ordered(rows, seed=1).equals(ordered(rows, seed=1))
    assert not ordered(rows, seed=1).equals(ordered(rows, seed=2))
    assert not ordered(rows, seed=1).equals(frame(rows))


def test_histories_are_in_time() -> None:
    """A user's sequence is what the user did, in order, under the rows of the items."""
    parts = cut([("u", "c", 3), ("v", "c", 1), ("u", "a", 1), ("u", "b", 2), ("u", "a", 4)], cold_share=0)
    sequences = {user: named(parts, rows) for user, rows in parts.sequences.rows()}

    assert sequences == {"u": ["a", "b", "c", "a"], "v": ["c"]}
    assert (parts.num_warm, parts.cold_targets.height) == (3, 0)


@given(ROWS, SEEDS, st.floats(0, 0.9), st.integers(1, 3))
def test_cold_items_are_in_no_sequence(rows: Rows, seed: int, share: float, most: int) -> None:
    """The share is rounded down; warm rows come first; every interaction with a warm item is in a sequence."""
    parts = cut(rows, share, most, seed)
    items = {item for _, item, _ in rows}
    warm = set(parts.item_ids[: parts.num_warm])
    in_sequences = [item for rows in parts.sequences["item_rows"] for item in named(parts, rows.to_list())]

    assert sorted(parts.item_ids) == sorted(items)
    assert parts.num_warm == len(items) - int(share * len(items))
    assert sorted(in_sequences) == sorted(item for _, item, _ in rows if item in warm)


@given(ROWS, SEEDS, st.floats(0, 0.9), st.integers(1, 3))
def test_cold_targets_are_the_earliest_with_warm_items_before_them(
    rows: Rows, seed: int, share: float, most: int
) -> None:
    """A naive loop over each cold item's interactions finds the same targets."""
    parts = cut(rows, share, most, seed)
    warm = set(parts.item_ids[: parts.num_warm])
    expected = []
    for item in parts.item_ids[parts.num_warm :]:
        met: list[tuple[float, str, list[str]]] = []
        for user in sorted({user for user, _, _ in rows}):
            history: list[str] = []
            for _, other, time in ordered(rows).filter(pl.col(USER) == user).rows():
                if other == item and history and user not in [met_user for _, met_user, _ in met]:
                    met.append((time, user, list(history)))
                if other in warm:
                    history.append(other)
        expected += [(user, history, item) for _, user, history in sorted(met)[:most]]

    assert [
        (user, named(parts, history), parts.item_ids[target]) for user, history, target in parts.cold_targets.rows()
    ] == expected


def test_rows_of_the_items_depend_on_the_seed_alone() -> None:
    """Which items are cold is the seed's choice: neither the order of the ids nor that of the file has a part."""
    rows = [("u", f"{number:02}", float(number)) for number in range(30)]
    first = cut(rows, 0.5, seed=1)

    assert cut(rows[::-1], 0.5, seed=1).item_ids == first.item_ids
    assert cut(rows, 0.5, seed=2).item_ids != first.item_ids
    assert list(first.item_ids) != sorted(first.item_ids)


@pytest.mark.parametrize(
    ("counts", "share", "threshold"),
    [
        ([1, 2, 3, 4, 5], 0.8, 4),
        ([1, 2, 3, 4, 5], 0.79, 3),
        ([5, 1, 4, 2, 3], 0.8, 4),
        ([1, 1, 1, 1, 9], 0.8, 1),
        ([1, 1, 9, 9, 9], 0.8, 1),
        ([3, 3, 3, 3, 3], 0.8, 3),
        ([0, 7], 0.5, 0),
        ([2, 2, 2, 8], 0.5, 2),
    ],
)
def test_tail_threshold_by_hand(counts: list[int], share: float, threshold: int) -> None:
    """The greatest count that, with all under it, covers no more than the share; or the smallest count there is."""
    assert tail_threshold(np.array(counts), share) == threshold
