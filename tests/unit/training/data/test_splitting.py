"""`llmemb_training.data.splitting`: order in time, cold items, the tail."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.data.splitting import Split, order_in_time, split, tail_threshold
from llmemb_training.sources.source import ITEM, TIME, USER

Rows = list[tuple[str, str, float]]
ROWS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.integers(0, 5).map(float)),
    min_size=1,
    max_size=40,
)
SEEDS = st.integers(0, 100)


def frame(rows: Rows) -> pl.DataFrame:
    """Code the ids: a user by the letter, an item by its number in the sorted names."""
    items = {item: code for code, item in enumerate(sorted({item for _, item, _ in rows}))}
    coded = [(ord(user), items[item], time) for user, item, time in rows]
    return pl.DataFrame(coded, schema={USER: pl.UInt32, ITEM: pl.UInt32, TIME: pl.Float64}, orient="row")


def decoded(ordered: pl.DataFrame, rows: Rows) -> Rows:
    names = sorted({item for _, item, _ in rows})
    return [(chr(user), names[item], time) for user, item, time in ordered.rows()]


def ordered(rows: Rows, seed: int = 0) -> pl.DataFrame:
    return order_in_time(frame(rows), np.random.default_rng(seed))


def cut(rows: Rows, cold_share: float, cold_interactions: int = 10, seed: int = 0) -> Split:
    return split(ordered(rows), cold_share, cold_interactions, np.random.default_rng(seed))


def item_names(parts: Split, rows: Rows) -> list[str]:
    """Name the item of each item row."""
    names = sorted({item for _, item, _ in rows})
    return [names[code] for code in parts.item_codes]


@given(ROWS, SEEDS)
def test_order_is_by_user_and_time_and_loses_nothing(rows: Rows, seed: int) -> None:
    """Each user's interactions stand together, the oldest first."""
    result = decoded(ordered(rows, seed), rows)

    assert sorted(result) == sorted(rows)
    assert [(user, time) for user, _, time in result] == sorted((user, time) for user, _, time in rows)


def test_equal_times_stand_in_an_order_of_the_seed() -> None:
    """The same seed gives the same order, another seed another one, and neither is the source's."""
    rows = [("u", f"{number:02}", 1.0) for number in range(20)]

    assert ordered(rows, seed=1).equals(ordered(rows, seed=1))
    assert not ordered(rows, seed=1).equals(ordered(rows, seed=2))
    assert not ordered(rows, seed=1).equals(frame(rows))


def test_histories_are_in_time() -> None:
    """A user's sequence is what the user did, in order and with its times, under the rows of the items."""
    rows: Rows = [("u", "c", 3), ("v", "c", 1), ("u", "a", 1), ("u", "b", 2), ("u", "a", 4)]
    parts = cut(rows, cold_share=0)
    names = item_names(parts, rows)
    sequences = {
        chr(user): [(names[row], time) for row, time in zip(history, times, strict=True)]
        for user, history, times in parts.sequences.select(USER, "item_rows", "times").rows()
    }

    assert sequences == {"u": [("a", 1), ("b", 2), ("c", 3), ("a", 4)], "v": [("c", 1)]}
    assert (parts.num_warm, parts.cold_targets.height) == (3, 0)
    assert parts.sequences["cold_rows"].to_list() == [[], []]


@given(ROWS, SEEDS, st.floats(0, 0.9), st.integers(1, 3))
def test_cold_items_are_in_no_history(rows: Rows, seed: int, share: float, most: int) -> None:
    """The share is rounded down; warm rows come first; every interaction with a warm item is in a history."""
    parts = cut(rows, share, most, seed)
    names = item_names(parts, rows)
    items = {item for _, item, _ in rows}
    warm = set(names[: parts.num_warm])
    in_histories = [names[row] for history in parts.sequences["item_rows"] for row in history]

    assert sorted(names) == sorted(items)
    assert parts.num_warm == len(items) - int(share * len(items))
    assert sorted(in_histories) == sorted(item for _, item, _ in rows if item in warm)


@given(ROWS, SEEDS, st.floats(0, 0.9))
def test_cold_items_of_a_user_are_known(rows: Rows, seed: int, share: float) -> None:
    """Beside each history stand the cold items the user met, each once: which, when, and after how many warm ones."""
    parts = cut(rows, share, seed=seed)
    names = item_names(parts, rows)
    cold = set(names[parts.num_warm :])
    expected = {}
    for user in parts.sequences[USER]:
        first: dict[str, tuple[float, int]] = {}
        warm_before = 0
        for other, item, time in decoded(ordered(rows), rows):
            if other == chr(user):
                if item in cold:
                    first.setdefault(item, (time, warm_before))
                warm_before += item not in cold
        expected[chr(user)] = [(item, *when) for item, when in first.items()]

    columns = parts.sequences.select(USER, "cold_rows", "cold_times", "cold_after").rows()
    assert {
        chr(user): [(names[row], time, after) for row, time, after in zip(*met, strict=True)] for user, *met in columns
    } == expected


@given(ROWS, SEEDS, st.floats(0, 0.9), st.integers(1, 3))
def test_cold_targets_are_the_earliest_first_meetings_with_warm_items_before_them(
    rows: Rows, seed: int, share: float, most: int
) -> None:
    """A naive loop over each cold item's interactions finds the same targets."""
    parts = cut(rows, share, most, seed)
    names = item_names(parts, rows)
    in_order = decoded(ordered(rows), rows)
    warm = set(names[: parts.num_warm])
    expected = []
    for item in names[parts.num_warm :]:
        met: list[tuple[float, str, list[str]]] = []
        for user in sorted({user for user, _, _ in rows}):
            own = [(other, time) for other_user, other, time in in_order if other_user == user]
            position = next((i for i, (other, _) in enumerate(own) if other == item), 0)
            history = [other for other, _ in own[:position] if other in warm]
            if history:
                met.append((own[position][1], user, history))
        expected += [(user, history, item, time) for time, user, history in sorted(met)[:most]]

    assert [
        (chr(user), [names[row] for row in history], names[target], time)
        for user, history, target, time in parts.cold_targets.rows()
    ] == expected


def test_second_meeting_with_a_cold_item_is_no_target() -> None:
    """Who met the item before anything warm knows it: no later meeting is a first interaction."""
    rows: Rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("v", "b", 1), ("v", "a", 2)]
    by_cold = {}
    for seed in range(10):
        parts = cut(rows, 0.5, seed=seed)
        by_cold[item_names(parts, rows)[1]] = [chr(user) for user in parts.cold_targets[USER]]

    assert by_cold == {"a": ["v"], "b": ["u"]}


def test_rows_of_the_items_depend_on_the_seed_alone() -> None:
    """Which items are cold is the seed's choice: neither the order of the ids nor that of the file has a part."""
    rows = [("u", f"{number:02}", float(number)) for number in range(30)]
    first = cut(rows, 0.5, seed=1).item_codes.tolist()

    assert cut(rows[::-1], 0.5, seed=1).item_codes.tolist() == first
    assert cut(rows, 0.5, seed=2).item_codes.tolist() != first
    assert first != sorted(first)


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
    """The largest count that, with all below it, covers at most the share; or the smallest count there is."""
    assert tail_threshold(np.array(counts), share) == threshold
