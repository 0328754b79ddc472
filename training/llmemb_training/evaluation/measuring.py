"""Metrics from predictions, and the catalogue metrics: coverage, tail share and Gini coefficient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb_training.config.seeds import derive_generator
from llmemb_training.evaluation.figures import PROTOCOLS, Comparison, Figure, GroupBounds, Protocol
from llmemb_training.evaluation.grouping import ALL, COLD, COLD_AMONG_COLD, HEAD, TAIL, group_masks
from llmemb_training.evaluation.ranking import hit_rate, ndcg, reciprocal_rank
from llmemb_training.evaluation.statistics import (
    Sample,
    Values,
    bootstrap_means,
    by_user,
    paired_p_values,
    percentile_interval,
)

Rows = NDArray[np.int64]


def coverage(slots: Rows, num_items: int) -> float:
    """Return the share of the catalogue that is recommended to at least one user.

    Source: Ge, Delgado-Battenfeld and Jannach 2010, "Beyond accuracy", catalogue coverage.
    """
    return len(np.unique(slots)) / num_items


def tail_share(slots: Rows, is_tail: NDArray[np.bool_]) -> float:
    """Return the share of the slots that contain a tail item; `is_tail` is `(N,)`. It is 0 without slots."""
    return float(is_tail[slots].mean()) if len(slots) else 0.0


def gini(slots: Rows, num_items: int) -> float:
    """Return the Gini coefficient of the items' recommendation counts: 0 if all are equal, near 1 if few items get all.

    It is 0 without slots.

    Source: Gini 1912, in the form of half the relative mean difference.
    """
    counts = np.sort(np.bincount(slots, minlength=num_items)).astype(np.float64)
    if not counts.sum():
        return 0.0
    places = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float((places * counts).sum() / (num_items * counts.sum()))


COMPARED_GROUPS = (ALL, TAIL, HEAD, COLD, COLD_AMONG_COLD)
COMPARED_METRICS = ("hr@10", "ndcg@10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How confidence intervals and p-values are computed; for the fields see `EvaluateConfig`."""

    bootstrap_samples: int
    confidence: float
    seed: int


@dataclass(frozen=True, slots=True)
class _Column:
    model: str
    protocol: Protocol
    metric: str


@dataclass(frozen=True, slots=True)
class _Aligned:
    """`n` targets and the values of all models for them.

    Args:
        columns: model, protocol and metric of each column.
        values: `(n, M)`.
        users: the user's number of each target, `(n,)`.
        train_counts: training interactions of each target item, `(n,)`.
        history_lengths: `(n,)`.
    """

    columns: list[_Column]
    values: Values
    users: NDArray[np.int64]
    train_counts: NDArray[np.int64]
    history_lengths: NDArray[np.int64]


def measure(
    predictions: pl.DataFrame, bounds: tuple[GroupBounds, ...], ks: Sequence[int], ours: str, resampling: Resampling
) -> tuple[tuple[Figure, ...], tuple[Comparison, ...]]:
    """Compute the value of each model, protocol, group and metric, and compare one model with all others.

    Args:
        predictions: as in `predictions.parquet`.
        bounds: the bounds of the groups.
        ks: the cut-offs k.
        ours: the model to compare with each other model.
        resampling: how confidence intervals and p-values are computed.

    Raises:
        DataError: the models have different targets.
    """
    figures: list[Figure] = []
    comparisons: list[Comparison] = []
    for split in ("test", COLD):
        rows = predictions.filter(pl.col("split") == split)
        if not rows.height:
            continue
        targets = _align(rows, ks, {protocol: f"rank_{protocol}" for protocol in PROTOCOLS})
        everything = np.ones(len(targets.users), dtype=bool)
        parts = [(COLD, targets, everything)]
        if split == "test":
            masks = group_masks(targets.train_counts, targets.history_lengths, bounds)
            parts = [(group, targets, mask) for group, mask in masks.items()]
        else:
            parts.append((COLD_AMONG_COLD, _align(rows, ks, {"full": "rank_among_cold"}), everything))
        for group, targets, mask in parts:
            sample = by_user(targets.values[mask], targets.users[mask])
            purpose = ("evaluate", "intervals", group)
            drawn = bootstrap_means(sample, resampling.bootstrap_samples, derive_generator(resampling.seed, *purpose))
            figures += _figures(group, targets.columns, sample, drawn, resampling, int(mask.sum()))
            if group in COMPARED_GROUPS:
                comparisons += _comparisons(group, targets.columns, sample, drawn, ours, resampling)
    return tuple(figures), tuple(comparisons)


def measure_catalogue(best: Mapping[str, NDArray[np.int64]], is_tail: NDArray[np.bool_]) -> list[Figure]:
    """Compute the catalogue metrics of each model's recommendations.

    Args:
        best: model -> the item rows recommended to each user, `(n, 10)`, padded with -1.
        is_tail: whether each item is a tail item, `(N,)`.
    """
    figures = []
    for model, rows in best.items():
        slots = rows[rows >= 0]
        metrics = {
            "coverage@10": coverage(slots, len(is_tail)),
            "tail_share@10": tail_share(slots, is_tail),
            "gini@10": gini(slots, len(is_tail)),
        }
        figures += [
            Figure(
                model=model,
                protocol="full",
                group=ALL,
                metric=metric,
                value=value,
                low=None,
                high=None,
                targets=len(rows),
            )
            for metric, value in metrics.items()
        ]
    return figures


def _align(rows: pl.DataFrame, ks: Sequence[int], rank_columns: Mapping[Protocol, str]) -> _Aligned:
    """Align the values of all models by target; the ranks of each protocol are in its column."""
    models = rows.partition_by("model", maintain_order=True)
    key = ["user_id", "target_item_id"]
    columns: list[_Column] = []
    values: list[Values] = []
    for own in models:
        model = own["model"][0]
        if not own[key].equals(models[0][key]):
            raise DataError(f"predictions: {model!r} does not have the targets of {models[0]['model'][0]!r}")
        for protocol, column in rank_columns.items():
            ranks = own[column].to_numpy()
            metrics = {f"hr@{k}": hit_rate(ranks, k) for k in ks} | {f"ndcg@{k}": ndcg(ranks, k) for k in ks}
            for metric, of_targets in (metrics | {"mrr": reciprocal_rank(ranks)}).items():
                columns.append(_Column(model, protocol, metric))
                values.append(of_targets)
    return _Aligned(
        columns=columns,
        values=np.column_stack(values),
        users=models[0]["user_id"].rank("dense").cast(pl.Int64).to_numpy(),
        train_counts=models[0]["target_train_count"].to_numpy(),
        history_lengths=models[0]["history_length"].to_numpy(),
    )


def _figures(
    group: str, columns: Sequence[_Column], sample: Sample, drawn: Values, resampling: Resampling, targets: int
) -> list[Figure]:
    low, high = percentile_interval(drawn, resampling.confidence)
    return [
        Figure(
            model=column.model,
            protocol=column.protocol,
            group=group,
            metric=column.metric,
            value=float(value),
            low=float(lowest),
            high=float(highest),
            targets=targets,
        )
        for column, value, lowest, highest in zip(columns, sample.means, low, high, strict=True)
    ]


def _comparisons(
    group: str, columns: Sequence[_Column], sample: Sample, drawn: Values, ours: str, resampling: Resampling
) -> list[Comparison]:
    models = {column.model for column in columns}
    if ours not in models or len(models) == 1:
        return []
    place = {column: i for i, column in enumerate(columns)}
    others = [i for i, c in enumerate(columns) if c.model != ours and c.metric in COMPARED_METRICS]
    own = [place[_Column(ours, columns[i].protocol, columns[i].metric)] for i in others]
    differences = Sample(sample.sums[:, own] - sample.sums[:, others], sample.counts)
    low, high = percentile_interval(drawn[:, own] - drawn[:, others], resampling.confidence)
    generator = derive_generator(resampling.seed, "evaluate", "signs", group)
    p_values = paired_p_values(differences, resampling.bootstrap_samples, generator)
    means = sample.means
    return [
        Comparison(
            model=ours,
            baseline=columns[other].model,
            protocol=columns[other].protocol,
            group=group,
            metric=columns[other].metric,
            difference=float(means[mine] - means[other]),
            ratio=float(means[mine] / means[other]) if means[other] > 0 else None,
            low=float(low[i]),
            high=float(high[i]),
            p_value=float(p_values[i]),
        )
        for i, (mine, other) in enumerate(zip(own, others, strict=True))
    ]
