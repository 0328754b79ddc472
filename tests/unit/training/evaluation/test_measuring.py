"""`measuring`: figures of groups by hand, their intervals, and the comparison with each baseline."""

import numpy as np
import polars as pl
import pytest

from llmemb.errors import DataError
from llmemb_training.evaluation.figures import Comparison, Figure, GroupBounds
from llmemb_training.evaluation.measuring import Resampling, measure, measure_catalogue

# model, split, user, train_count, full, sampled
Row = tuple[str, str, str, int, int, int]
ROWS: list[Row] = [
    ("ours", "test", "a", 1, 1, 1),
    ("ours", "test", "b", 2, 3, 2),
    ("ours", "test", "c", 5, 20, 11),
    ("ours", "cold", "a", 0, 2, 1),
    ("popular", "test", "a", 1, 30, 4),
    ("popular", "test", "b", 2, 2, 1),
    ("popular", "test", "c", 5, 1, 1),
    ("popular", "cold", "a", 0, 40, 101),
]
BOUNDS = (
    GroupBounds(group="tail", by="target_train_count", low=0, high=2, members=2),
    GroupBounds(group="head", by="target_train_count", low=3, high=None, members=1),
    GroupBounds(group="length_1", by="history_length", low=0, high=7, members=3),
)
RESAMPLING = Resampling(bootstrap_samples=200, confidence=0.9, seed=3)
Measured = tuple[tuple[Figure, ...], tuple[Comparison, ...]]


def predictions(rows: list[Row]) -> pl.DataFrame:
    names = ["model", "split", "user_id", "target_train_count", "rank_full", "rank_sampled"]
    types = [pl.String, pl.String, pl.String, pl.Int64, pl.Int64, pl.Int64]
    frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    # Of half the rank among all items, for cold targets alone.
    frame = frame.with_columns(rank_among_cold=pl.when(pl.col("split") == "cold").then((pl.col("rank_full") + 1) // 2))
    return frame.with_columns(target_item_id=pl.concat_str(pl.lit("of "), "user_id"), history_length=pl.lit(7))


def many(ours: list[int], theirs: list[int]) -> pl.DataFrame:
    """Two models' ranks of one target a user, all of the tail."""
    models = {"ours": ours, "popular": theirs}
    return predictions(
        [(model, "test", f"u{i}", 1, rank, rank) for model, ranks in models.items() for i, rank in enumerate(ranks)]
    )


@pytest.fixture
def measured() -> Measured:
    return measure(predictions(ROWS), BOUNDS, (3, 10), "ours", RESAMPLING)


@pytest.mark.parametrize(
    ("model", "protocol", "group", "metric", "value", "targets"),
    [
        ("ours", "full", "all", "hr@3", 2 / 3, 3),
        ("ours", "full", "all", "ndcg@10", (1 + 0.5) / 3, 3),
        ("ours", "full", "all", "mrr", (1 + 1 / 3 + 1 / 20) / 3, 3),
        ("ours", "full", "tail", "hr@3", 1.0, 2),
        ("ours", "full", "head", "hr@10", 0.0, 1),
        ("ours", "full", "head", "mrr", 1 / 20, 1),
        ("ours", "full", "length_1", "hr@3", 2 / 3, 3),
        ("ours", "full", "cold", "ndcg@3", 1 / np.log2(3), 1),
        ("ours", "full", "cold_among_cold", "ndcg@3", 1.0, 1),
        ("popular", "full", "cold_among_cold", "mrr", 1 / 20, 1),
        ("ours", "sampled", "all", "hr@3", 2 / 3, 3),
        ("ours", "sampled", "all", "hr@10", 2 / 3, 3),
        ("ours", "sampled", "cold", "hr@3", 1.0, 1),
        ("popular", "full", "tail", "ndcg@3", 1 / np.log2(3) / 2, 2),
        ("popular", "full", "head", "ndcg@3", 1.0, 1),
        ("popular", "sampled", "cold", "hr@10", 0.0, 1),
    ],
)
def test_figures_by_hand(
    measured: Measured, model: str, protocol: str, group: str, metric: str, value: float, targets: int
) -> None:
    """The cold targets are in no group but their own; MRR has no cut-off."""
    (figure,) = [f for f in measured[0] if (f.model, f.protocol, f.group, f.metric) == (model, protocol, group, metric)]

    assert figure.value == pytest.approx(value)
    assert figure.targets == targets
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low - 1e-6 <= figure.value <= figure.high + 1e-6


def test_every_figure_comes_once(measured: Measured) -> None:
    """Two models; five groups in both protocols, one in the full ranking; five metrics."""
    keys = {(f.model, f.protocol, f.group, f.metric) for f in measured[0]}

    assert len(keys) == len(measured[0]) == 2 * (2 * 5 + 1) * 5


def test_interval_narrows_with_the_users() -> None:
    """It is near the normal approximation, and a quarter as wide with sixteen times the users."""
    widths = []
    for copies in (1, 16):
        ranks = [1, 99, 99, 99] * 25 * copies
        figures, _ = measure(many(ranks, ranks), BOUNDS, (10,), "ours", RESAMPLING)
        (figure,) = [f for f in figures if (f.model, f.protocol, f.group, f.metric) == ("ours", "full", "all", "hr@10")]
        assert figure.low is not None
        assert figure.high is not None
        widths.append(figure.high - figure.low)

    assert widths[0] == pytest.approx(2 * 1.645 * np.sqrt(0.25 * 0.75 / 100), rel=0.2)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.2)


def test_comparison_by_hand(measured: Measured) -> None:
    """Only @10 of the main groups, ours less the baseline's and over it; nothing is over 0."""
    found = {(c.protocol, c.group, c.metric): c for c in measured[1]}

    assert len(found) == len(measured[1]) == (2 * 4 + 1) * 2
    assert {(c.model, c.baseline) for c in measured[1]} == {("ours", "popular")}
    tail, head, cold = (found["full", group, "ndcg@10"] for group in ("tail", "head", "cold"))
    assert tail.difference == pytest.approx((1 + 0.5) / 2 - 1 / np.log2(3) / 2)
    assert tail.ratio == pytest.approx((1 + 0.5) / (1 / np.log2(3)))
    assert (head.difference, head.ratio) == (-1.0, 0.0)
    assert (cold.difference, cold.ratio) == (pytest.approx(1 / np.log2(3)), None)


def test_difference_is_paired() -> None:
    """A small gain of every user is sure, where the two intervals by themselves overlap."""
    hard = [1 + 2 * (i % 40) for i in range(200)]
    figures, comparisons = measure(many(hard, [rank + 1 for rank in hard]), BOUNDS, (10,), "ours", RESAMPLING)
    ours, theirs = (f for f in figures if (f.protocol, f.group, f.metric) == ("full", "all", "ndcg@10"))
    (comparison,) = [c for c in comparisons if (c.protocol, c.group, c.metric) == ("full", "all", "ndcg@10")]

    assert ours.low is not None
    assert theirs.high is not None
    assert ours.low < theirs.high
    assert comparison.low > 0
    assert comparison.p_value == pytest.approx(1 / 201)


def test_models_that_are_alike_do_not_differ() -> None:
    """The same ranks give a difference of 0, an interval without width, and p 1."""
    ranks = list(range(1, 60))
    _, comparisons = measure(many(ranks, ranks), BOUNDS, (10,), "ours", RESAMPLING)

    assert {(c.difference, c.low, c.high, c.p_value) for c in comparisons} == {(0.0, 0.0, 0.0, 1.0)}


def test_group_without_targets_has_no_figures() -> None:
    """A mean over nothing is no number, so the group is left out."""
    rows = [row for row in ROWS if row[1] == "test" and row[3] < 5]
    figures, comparisons = measure(predictions(rows), BOUNDS, (10,), "ours", RESAMPLING)

    assert {f.group for f in figures} == {"all", "tail", "length_1"}
    assert {c.group for c in comparisons} == {"all", "tail"}


def test_nothing_is_compared_without_ours_or_with_ours_alone() -> None:
    """The figures are there all the same."""
    ranks = list(range(1, 20))
    without = measure(many(ranks, ranks), BOUNDS, (10,), "a third", RESAMPLING)
    rows = many(ranks, ranks)
    alone = measure(rows.filter(model="ours"), BOUNDS, (10,), "ours", RESAMPLING)

    assert {f.model for f in without[0]} == set(rows["model"])
    assert {f.model for f in alone[0]} == {"ours"}
    assert (without[1], alone[1]) == ((), ())


def test_no_targets_make_no_figures() -> None:
    """Nothing to rank is no error of the evaluation."""
    assert measure(predictions([]), BOUNDS, (10,), "ours", RESAMPLING) == ((), ())


def test_other_targets_are_an_error() -> None:
    """Models that ranked other targets cannot be compared."""
    with pytest.raises(DataError, match=r"'popular' does not have the targets of 'ours'"):
        measure(predictions([*ROWS[:4], *ROWS[5:]]), BOUNDS, (10,), "ours", RESAMPLING)


def test_seed_decides_the_intervals(measured: Measured) -> None:
    """The same predictions and seed give the same figures to the last bit; another seed other bounds only."""
    ranks = list(range(1, 60))
    first, again, other = (
        measure(
            many(ranks, ranks[::-1]), BOUNDS, (10,), "ours", Resampling(bootstrap_samples=100, confidence=0.9, seed=s)
        )
        for s in (1, 1, 2)
    )

    assert first == again
    assert first != other
    assert [f.value for f in first[0]] == [f.value for f in other[0]]


def test_catalogue_by_hand() -> None:
    """Coverage, tail share and Gini of each model's lists; a list may be short."""
    best = {"ours": np.array([[0, 1], [0, -1]]), "vanilla": np.full((2, 2), -1)}
    figures = measure_catalogue(best, np.array([False, True, True, False]))
    values = {(f.model, f.metric): f.value for f in figures}

    assert values["ours", "coverage@10"] == 2 / 4
    assert values["ours", "tail_share@10"] == pytest.approx(1 / 3)
    assert values["ours", "gini@10"] == pytest.approx((3 * 2 + 1 - 0) / (4 * 3))
    assert [values["vanilla", f"{name}@10"] for name in ("coverage", "tail_share", "gini")] == [0.0, 0.0, 0.0]
    assert {(f.protocol, f.group, f.low, f.high, f.targets) for f in figures} == {("full", "all", None, None, 2)}
