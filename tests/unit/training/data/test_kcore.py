"""`llmemb_training.data.splitting`: the largest part in which all users and items have enough interactions."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.data.splitting import k_core
from llmemb_training.sources.source import ITEM, USER

Pairs = list[tuple[str, str]]
PAIRS = st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdef")), max_size=40)


def core_of(pairs: Pairs, k: int) -> Pairs:
    """Take the core of the letters' codes."""
    coded = [(ord(user), ord(item)) for user, item in pairs]
    core = k_core(pl.DataFrame(coded, schema={USER: pl.UInt32, ITEM: pl.UInt32}, orient="row"), k)
    return [(chr(user), chr(item)) for user, item in core.rows()]


def naive_core(pairs: Pairs, k: int) -> Pairs:
    """Take one user or item under k out at a time, until none is left."""
    while True:
        nodes = [pair[side] for side in (0, 1) for pair in pairs]
        poor = next((node for node in nodes if sum(node in pair for pair in pairs) < k), None)
        if poor is None:
            return pairs
        pairs = [pair for pair in pairs if poor not in pair]


@given(PAIRS, st.integers(1, 4))
def test_core_is_the_greatest_part_with_k_of_each(pairs: Pairs, k: int) -> None:
    """Whatever the order of removal, the same part is left: each user and item has k, and no greater part does."""
    core = core_of(pairs, k)

    assert core == naive_core(pairs, k)
    assert all(sum(user == other for other, _ in core) >= k for user, _ in core)
    assert all(sum(item == other for _, other in core) >= k for _, item in core)


def test_one_pass_is_not_enough() -> None:
    """A chain falls from its end: each removal makes the next user or item poor."""
    square = [("u", "a"), ("u", "b"), ("v", "a"), ("v", "b")]
    chain = [("v", "c"), ("w", "c"), ("w", "d"), ("x", "d"), ("x", "e")]

    assert core_of([*chain, *square], 2) == square


def test_repeated_interactions_count() -> None:
    """Counted are interactions, not different items."""
    pairs = [("u", "a"), ("u", "a")]

    assert core_of(pairs, 2) == pairs


@pytest.mark.parametrize(("pairs", "k"), [([], 1), ([("u", "a")], 2), ([("u", "a"), ("u", "b"), ("v", "a")], 2)])
def test_core_may_be_empty(pairs: Pairs, k: int) -> None:
    """Where nothing has k, nothing is left."""
    assert core_of(pairs, k) == []


def test_other_columns_stay() -> None:
    """An interaction keeps what else is known of it."""
    frame = pl.DataFrame({USER: [0, 0, 1], "timestamp": [3.0, 1.0, 2.0], ITEM: [4, 4, 4]})

    assert k_core(frame, 2).rows() == [(0, 3.0, 4), (0, 1.0, 4)]
