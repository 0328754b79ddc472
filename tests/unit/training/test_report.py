"""`training.report`: figures of groups, and tables that keep the two protocols apart."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.report import Figures, make_figures, make_tables, read_figures, write_report

ROWS = [
    # model, split, train_count, full, sampled
    ("ours", "test", 1, 1, 1),
    ("ours", "test", 2, 3, 2),
    ("ours", "test", 5, 20, 11),
    ("ours", "cold", 0, 2, 1),
    ("popular", "test", 1, 30, 4),
    ("popular", "test", 2, 2, 1),
    ("popular", "test", 5, 1, 1),
    ("popular", "cold", 0, 40, 101),
]


def predictions(rows: list[tuple[str, str, int, int, int]]) -> pl.DataFrame:
    names = ["model", "split", "target_train_count", "rank_full", "rank_sampled"]
    types = [pl.String, pl.String, pl.Int64, pl.Int64, pl.Int64]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


@pytest.fixture
def figures() -> Figures:
    return make_figures(predictions(ROWS), 2, (3, 10))


@pytest.mark.parametrize(
    ("model", "protocol", "group", "metric", "value", "targets"),
    [
        ("ours", "full", "all", "hr@3", 2 / 3, 3),
        ("ours", "full", "all", "ndcg@10", (1 + 0.5) / 3, 3),
        ("ours", "full", "tail", "hr@3", 1.0, 2),
        ("ours", "full", "head", "hr@10", 0.0, 1),
        ("ours", "full", "cold", "ndcg@3", 1 / np.log2(3), 1),
        ("ours", "sampled", "all", "hr@3", 2 / 3, 3),
        ("ours", "sampled", "all", "hr@10", 2 / 3, 3),
        ("ours", "sampled", "cold", "hr@3", 1.0, 1),
        ("popular", "full", "tail", "ndcg@3", 1 / np.log2(3) / 2, 2),
        ("popular", "full", "head", "ndcg@3", 1.0, 1),
        ("popular", "sampled", "cold", "hr@10", 0.0, 1),
    ],
)
def test_figures_by_hand(
    figures: Figures, model: str, protocol: str, group: str, metric: str, value: float, targets: int
) -> None:
    """Tail is up to the threshold, head above it; the cold targets are in no group but their own."""
    (figure,) = [
        f for f in figures.figures if (f.model, f.protocol, f.group, f.metric) == (model, protocol, group, metric)
    ]

    assert figure.value == pytest.approx(value)
    assert figure.targets == targets


def test_every_figure_comes_once(figures: Figures) -> None:
    """Two models, two protocols, four groups, two metrics at two cut-offs."""
    keys = {(f.model, f.protocol, f.group, f.metric) for f in figures.figures}

    assert len(keys) == len(figures.figures) == 2 * 2 * 4 * 4


def test_group_without_targets_has_no_figures() -> None:
    """A mean over nothing is no number, so the group is left out."""
    figures = make_figures(predictions([row for row in ROWS if row[1] == "test"]), 9, (10,))

    assert {f.group for f in figures.figures} == {"all", "tail"}
    assert make_tables(figures).count("tail HR@10") == 2


def test_no_targets_at_all_make_empty_tables() -> None:
    """Nothing to rank is no error of the report."""
    assert "### Ranked among all items" in make_tables(make_figures(predictions([]), 2, (10,)))


def test_tables_keep_the_protocols_apart(figures: Figures) -> None:
    """The full ranking comes first, the sampled one in a table of its own that says so; only @10 is shown."""
    text = make_tables(figures)
    full, sampled = text.split("### Ranked among 1 positive and sampled negatives: not comparable with the table above")

    assert full.startswith("### Ranked among all items\n\n| model | all HR@10 | all NDCG@10 | tail HR@10 |")
    assert "| ours | 0.6667 | 0.5000 | 1.0000 | 0.7500 | 0.0000 | 0.0000 | 1.0000 | 0.6309 |" in full
    assert "| ours | 0.6667 | 0.5436 |" in sampled
    assert "Targets: all 3, tail 2, head 1, cold 1; tail: at most 2 training interactions." in full
    assert "@3" not in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {10}


def test_report_reads_back(figures: Figures, tmp_path: Path) -> None:
    """The files hold the predictions, the figures and the tables, as they were."""
    write_report(tmp_path, predictions(ROWS), figures)

    assert read_figures(tmp_path) == figures
    assert pl.read_parquet(tmp_path / "predictions.parquet").equals(predictions(ROWS))
    assert (tmp_path / "table.md").read_text() == make_tables(figures)
