"""Predictions -> figures -> tables.

Every figure is made of the predictions alone, so that anyone can make it again from `predictions.parquet`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from training.ranking import hit_rate, ndcg

Protocol = Literal["full", "sampled"]
PREDICTIONS_FILE = "predictions.parquet"
FIGURES_FILE = "figures.json"
TABLE_FILE = "table.md"


class Figure(BaseModel):
    """One number of the evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    protocol: Protocol
    group: str
    """`all`, `tail` and `head` of the test targets, or `cold`."""
    metric: str
    """`hr@k` or `ndcg@k`."""
    value: float
    targets: int
    """How many targets the mean is over."""


class Figures(BaseModel):
    """`figures.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tail_max_train_count: int
    """A target belongs to the tail when its item has at most so many training interactions."""
    figures: tuple[Figure, ...]


def make_figures(predictions: pl.DataFrame, tail_max_train_count: int, ks: Sequence[int]) -> Figures:
    """Compute HR@k and NDCG@k for each model, protocol and group.

    Args:
        predictions: as in `predictions.parquet`.
        tail_max_train_count: see `Figures`.
        ks: the cut-offs.
    """
    test = predictions.filter(pl.col("split") == "test")
    is_tail = pl.col("target_train_count") <= tail_max_train_count
    groups = {
        "all": test,
        "tail": test.filter(is_tail),
        "head": test.filter(~is_tail),
        "cold": predictions.filter(pl.col("split") == "cold"),
    }
    figures = []
    for protocol, column in (("full", "rank_full"), ("sampled", "rank_sampled")):
        for group, frame in groups.items():
            for (model,), rows in frame.group_by("model", maintain_order=True):
                ranks = rows[column].to_numpy()
                for k in ks:
                    for metric, values in ((f"hr@{k}", hit_rate(ranks, k)), (f"ndcg@{k}", ndcg(ranks, k))):
                        figures.append(
                            Figure(
                                model=str(model),
                                protocol=protocol,
                                group=group,
                                metric=metric,
                                value=float(values.mean()),
                                targets=len(ranks),
                            )
                        )
    return Figures(tail_max_train_count=tail_max_train_count, figures=tuple(figures))


def make_tables(figures: Figures) -> str:
    """Write Markdown: the full ranking first, the sampled protocol in a table of its own."""
    parts = []
    for protocol, title in (
        ("full", "Ranked among all items"),
        ("sampled", "Ranked among 1 positive and sampled negatives: not comparable with the table above"),
    ):
        chosen = [figure for figure in figures.figures if figure.protocol == protocol]
        columns = list(dict.fromkeys((figure.group, figure.metric) for figure in chosen))
        columns = [(group, metric) for group, metric in columns if metric.endswith("@10")]
        targets = {figure.group: figure.targets for figure in chosen}
        values = {(figure.model, figure.group, figure.metric): figure.value for figure in chosen}
        header = " | ".join(f"{group} {metric.upper()}" for group, metric in columns)
        lines = [f"### {title}", "", f"| model | {header} |", "|---" * (len(columns) + 1) + "|"]
        for model in dict.fromkeys(figure.model for figure in chosen):
            cells = " | ".join(f"{values[model, group, metric]:.4f}" for group, metric in columns)
            lines.append(f"| {model} | {cells} |")
        counted = ", ".join(f"{group} {number:,}" for group, number in targets.items())
        lines += ["", f"Targets: {counted}; tail: at most {figures.tail_max_train_count} training interactions."]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def write_report(folder: Path, predictions: pl.DataFrame, figures: Figures) -> None:
    """Write the predictions, the figures and the tables."""
    predictions.write_parquet(folder / PREDICTIONS_FILE)
    (folder / FIGURES_FILE).write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / TABLE_FILE).write_text(make_tables(figures), encoding="utf-8")


def read_figures(folder: Path) -> Figures:
    """Read `figures.json`."""
    return Figures.model_validate_json((folder / FIGURES_FILE).read_text(encoding="utf-8"))
