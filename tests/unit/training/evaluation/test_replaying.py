"""`evaluation.replay`: the clicks of the held-out items in time, and histories that hold the first of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.errors import ConfigError, DataError
from llmemb_training.config import RatConfig, ReplayConfig
from llmemb_training.data.dataset import Dataset
from llmemb_training.evaluation.replay import Clicks, order_clicks, plan_replay, with_first_clicks
from tests.support.replayed import Interaction, dataset_of, interactions_in_time

Click = tuple[str, str, list[str]]
"""User, item, the warm items before it."""
INTERACTIONS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 8).map(float)), min_size=1, max_size=50
)


def named(dataset: Dataset, clicks: Clicks) -> list[Click]:
    ids = dataset.items["item_id"].to_list()
    targets = clicks.targets(dataset, range(len(clicks.rows)))
    return [
        (user, ids[row], [ids[before] for before in history])
        for user, row, history in zip(targets.user_ids, targets.rows, targets.histories, strict=True)
    ]


def expected_clicks(dataset: Dataset) -> list[tuple[float, Click]]:
    """All clicks with their times, by a plain loop over the sequences, user by user."""
    ids = dataset.items["item_id"].to_list()
    return [
        (time, (user, ids[row], [ids[before] for before in history[:after]]))
        for user, history, *cold in dataset.sequences.select(
            "user_id", "item_rows", "cold_rows", "cold_times", "cold_after"
        ).rows()
        for row, time, after in zip(*cold, strict=True)
        if after > 0
    ]


def config(**options: Any) -> ReplayConfig:
    return ReplayConfig.model_validate({"ks": [0, 1, 2], "later_clicks": None} | options)


@given(INTERACTIONS, st.floats(0.2, 0.7), st.integers(0, 100))
def test_clicks_are_the_first_meetings_with_a_history(interactions: list[Interaction], share: float, seed: int) -> None:
    """None is lost, a user's stand in their order, and each knows the warm items before it."""
    dataset = dataset_of(interactions, share)
    clicks = named(dataset, order_clicks(dataset, seed))
    expected = [click for _, click in expected_clicks(dataset)]

    assert sorted(clicks) == sorted(expected)
    for user in dataset.sequences["user_id"]:
        assert [click for click in clicks if click[0] == user] == [click for click in expected if click[0] == user]


@given(st.integers(0, 100))
def test_clicks_are_in_time(seed: int) -> None:
    """By the source's times, whoever the user; the clicks of the same item before each are counted."""
    dataset = dataset_of(interactions_in_time(seed=seed), 0.2)
    clicks = order_clicks(dataset, seed)
    times = {(user, item): time for time, (user, item, _) in expected_clicks(dataset)}
    names = named(dataset, clicks)
    in_order = [times[user, item] for user, item, _ in names]

    assert not clicks.by_position
    assert in_order == sorted(in_order)
    assert clicks.earlier.tolist() == [
        sum(item == other for _, other, _ in names[:place]) for place, (_, item, _) in enumerate(names)
    ]


def test_exposures_are_what_everybody_did_since_the_item_came() -> None:
    """Warm interactions from the first meeting with the item, by whomever, up to before the click."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    clicks = order_clicks(dataset, 0)
    warm = np.sort(np.concatenate(dataset.sequences["times"].to_list()))
    first: dict[int, float] = {}
    times = {}
    for user, rows, cold_times in dataset.sequences.select("user_id", "cold_rows", "cold_times").rows():
        for row, time in zip(rows, cold_times, strict=True):
            first[row] = min(time, first.get(row, time))
            times[user, row] = time
    targets = clicks.targets(dataset, range(len(clicks.rows)))
    spans = [(first[row], times[user, row]) for user, row in zip(targets.user_ids, targets.rows.tolist(), strict=True)]

    assert clicks.exposures.tolist() == [int(((begin <= warm) & (warm < end)).sum()) for begin, end in spans]
    assert clicks.exposures.max() > 100
    assert clicks.interactions == len(warm)


def test_positions_are_no_times() -> None:
    """Where users count their own steps, a click stands where its share of the history does, not at its count."""
    short, long = [1, 0], [1, 2, 3, 4, 5, 6, 7, 8, 0]
    interactions = [(0, item, float(step)) for step, item in enumerate(long)]
    interactions += [(user, item, float(step)) for user in (1, 2) for step, item in enumerate(short)]
    seed = next(seed for seed in range(99) if dataset_of(interactions, 0.12, seed).items["item_id"][8] == "m0")
    dataset = dataset_of(interactions, 0.12, seed)
    clicks = order_clicks(dataset, 0)

    assert clicks.by_position
    # All three came at the end, after all that anybody did.
    assert sorted(user for user, _, _ in named(dataset, clicks)) == ["u0", "u1", "u2"]
    assert clicks.exposures.tolist() == [10, 10, 10]


def test_share_of_the_history_is_the_time_of_a_position() -> None:
    """Half-way through a long history is before the end of a short one."""
    interactions = [(0, item, float(step)) for step, item in enumerate([1, 2, 0, 3, 4])]
    interactions += [(1, item, float(step)) for step, item in enumerate([1, 0])]
    seed = next(seed for seed in range(99) if dataset_of(interactions, 0.2, seed).items["item_id"][4] == "m0")
    dataset = dataset_of(interactions, 0.2, seed)
    clicks = order_clicks(dataset, 0)

    assert [(user, len(history)) for user, _, history in named(dataset, clicks)] == [("u0", 2), ("u1", 1)]
    assert clicks.exposures.tolist() == [3, 5]


def test_one_time_for_all_is_no_time() -> None:
    """Ties everywhere are replayed by position, whatever the time is, in the order that `prepare` drew."""
    same = [(user, item, 1.4e9) for user, item, _ in interactions_in_time()]
    clicks = order_clicks(dataset_of(same, 0.2), 0)

    assert clicks.by_position
    assert clicks.earlier.max() > 2


def test_ties_between_users_are_broken_by_the_seed() -> None:
    """The same seed gives the same order, another seed a different one."""
    days = [(user, item, time // 100) for user, item, time in interactions_in_time()]
    dataset = dataset_of(days, 0.2)
    first, again, other = (named(dataset, order_clicks(dataset, seed)) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


def test_history_of_one_item_is_a_session() -> None:
    """One warm item before it makes a click; none does not."""
    interactions = [(0, 1, 5.0), (0, 0, 6.0), (1, 0, 1.0), (1, 1, 2.0), (2, 1, 3.0)]
    seed = next(seed for seed in range(99) if dataset_of(interactions, 0.5, seed).items["item_id"][1] == "m0")
    dataset = dataset_of(interactions, 0.5, seed)

    assert named(dataset, order_clicks(dataset, 0)) == [("u0", "m0", ["m1"])]


def test_counts_before_are_those_of_a_plain_loop() -> None:
    """For each place, how often every cold item was clicked before it."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    clicks = order_clicks(dataset, 0)
    places = np.arange(3, len(clicks.rows), 5)
    cold = range(dataset.num_warm, dataset.num_items)

    assert clicks.counts_before(places, dataset.num_warm, len(cold)).tolist() == [
        [int((clicks.rows[:place] == row).sum()) for row in cold] for place in places
    ]


def test_later_clicks_are_measured() -> None:
    """Those after the last k, of each item at most so many as is said."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    clicks, every = plan_replay(config(), RatConfig(), dataset, 0)
    _, some = plan_replay(config(later_clicks=3), RatConfig(), dataset, 0)

    assert every.tolist() == np.flatnonzero(clicks.earlier >= 2).tolist()
    assert some.tolist() == np.flatnonzero((clicks.earlier >= 2) & (clicks.earlier < 5)).tolist()
    assert len(some) < len(every)


def test_halves_are_each_others_rest() -> None:
    """Every held-out item is measured in one half, and in one only; another seed divides them otherwise."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    clicks, every = plan_replay(config(), RatConfig(), dataset, 0)
    first, second, other = (
        plan_replay(config(items=items), RatConfig(), dataset, seed)[1]
        for items, seed in (("first_half", 0), ("second_half", 0), ("first_half", 1))
    )

    assert sorted([*first, *second]) == every.tolist()
    assert not set(clicks.rows[first]) & set(clicks.rows[second])
    assert set(clicks.rows[first]) != set(clicks.rows[other])


def test_what_cannot_be_replayed_is_said() -> None:
    """Cosines, no item held out, no times, too few clicks: one sentence each that names what to change."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    whole = dataset_of(interactions_in_time(), 0.0)
    timeless = replace(dataset, sequences=dataset.sequences.select("user_id", "item_rows", "cold_rows"))

    with pytest.raises(ConfigError, match=r"rat\.scoring is 'cosine'; .* it must be 'dot'"):
        plan_replay(config(), RatConfig(scoring="cosine"), dataset, 0)
    with pytest.raises(ConfigError, match=r"set prepare\.cold_share above 0"):
        plan_replay(config(), RatConfig(), whole, 0)
    with pytest.raises(DataError, match=r"sequences\.parquet has no times"):
        plan_replay(config(), RatConfig(), timeless, 0)
    most = int(order_clicks(dataset, 0).earlier.max()) + 1
    with pytest.raises(ConfigError, match=rf"ends with {most}, but .* any of the 7 measured items has is {most};"):
        plan_replay(config(ks=[0, most]), RatConfig(), dataset, 0)


def test_first_clicks_stand_in_the_training_histories() -> None:
    """Each at its place, or before the validation target where it came later; targets stay, all items are warm."""
    dataset = dataset_of(interactions_in_time(), 0.2)
    clicks = order_clicks(dataset, 0)
    made = with_first_clicks(dataset, clicks, 3)
    expected = [rows.tolist() for rows in dataset.train]
    for place in reversed(range(len(clicks.rows))):
        if clicks.earlier[place] < 3:
            expected[clicks.sequences[place]].insert(clicks.after[place], int(clicks.rows[place]))

    assert [sorted(rows) for rows in made.train] == [sorted(rows) for rows in expected]
    late = clicks.after > [len(dataset.histories[sequence]) - 2 for sequence in clicks.sequences]
    early = sorted(set(range(len(expected))) - set(clicks.sequences[late]))
    assert [made.train[user].tolist() for user in early] == [expected[user] for user in early]
    assert late.any()
    assert made.validation.rows.tolist() == dataset.validation.rows.tolist()
    assert made.test.rows.tolist() == dataset.test.rows.tolist()
    assert (made.num_warm, made.num_items) == (dataset.num_items, dataset.num_items)
    assert made.train_counts[dataset.num_warm :].tolist() == [
        min(3, int((clicks.rows == row).sum())) for row in range(dataset.num_warm, dataset.num_items)
    ]


def test_clicks_make_no_targets_of_short_histories() -> None:
    """A user of one or two warm items stays one that is trained on and not asked."""
    interactions = [(0, 1, 1.0), (0, 2, 2.0), (0, 0, 3.0), (1, 1, 4.0), (1, 0, 5.0), (2, 2, 7.0), (2, 1, 8.0)]
    seed = next(seed for seed in range(99) if dataset_of(interactions, 0.34, seed).items["item_id"][2] == "m0")
    dataset = dataset_of(interactions, 0.34, seed)
    made = with_first_clicks(dataset, order_clicks(dataset, 0), 5)
    m1, m2 = (dataset.items["item_id"].to_list().index(name) for name in ("m1", "m2"))

    assert [rows.tolist() for rows in made.train] == [[m1, m2], [m1, 2], [m2, m1]]
    assert len(made.test.rows) == 0
