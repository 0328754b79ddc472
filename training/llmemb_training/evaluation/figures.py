"""`figures.json`: all metrics of the evaluation, with confidence intervals and significance tests."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from llmemb.files import write_text_atomically

Protocol = Literal["full", "sampled"]
PROTOCOLS: tuple[Protocol, ...] = ("full", "sampled")
GroupedBy = Literal["target_train_count", "history_length"]
FIGURES_FILE = "figures.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Figure(_Record):
    """One value of a metric."""

    model: str
    protocol: Protocol
    group: str
    """`all`, `cold`, or a name of `Figures.group_bounds`."""
    metric: str
    """`hr@k`, `ndcg@k` or `mrr`; catalogue metrics: `coverage@10`, `tail_share@10` or `gini@10`."""
    value: float
    low: float | None
    """Lower confidence bound; None for a catalogue metric, which is not a mean over users."""
    high: float | None
    """Upper confidence bound."""
    targets: int
    """Number of targets in the mean; for a catalogue metric, number of recommendation lists."""


class Comparison(_Record):
    """A paired comparison of a model with a baseline, over the users."""

    model: str
    baseline: str
    protocol: Protocol
    group: str
    """`all`, `tail`, `head` or `cold`."""
    metric: str
    """`hr@10` or `ndcg@10`."""
    difference: float
    """Model minus baseline."""
    ratio: float | None
    """Model divided by baseline; None if the baseline is 0."""
    low: float
    """Lower confidence bound of the difference."""
    high: float
    """Upper confidence bound of the difference."""
    p_value: float
    """Two-sided p-value of the paired randomisation test; see `llmemb_training.evaluation.statistics`."""


class Training(_Record):
    """Summary of a model's training."""

    model: str
    epochs: int
    best_epoch: int
    validation_ndcg: float
    """NDCG@10 of the best epoch."""
    popular_ndcg: float
    """NDCG@10 of the most popular items on the same targets."""
    fault: str | None
    """Why the training did not converge; None if it did. A baseline with a fault is excluded from comparisons."""


class GroupBounds(_Record):
    """The bounds of a group of test targets. Cold targets are in the group `cold` only."""

    group: str
    """`tail` and `head`, `popularity_1` (lowest) to `popularity_5`; `tail_users` and `head_users`, `length_1`
    (shortest) to `length_5`. There are fewer than five groups if there are fewer than five different values."""
    by: GroupedBy
    """Training interactions of the target item, or length of the history before the target: columns of
    `predictions.parquet`."""
    low: int
    """Minimum value, inclusive."""
    high: int | None
    """Maximum value, inclusive; None: unbounded."""
    members: int
    """Number of warm items, or of test users, within the bounds."""


class Figures(_Record):
    """`figures.json`."""

    seed: int
    """Seed of the run."""
    tail_max_train_count: int
    """Maximum number of training interactions of a tail item."""
    confidence: float
    """Confidence level of the intervals, such as 0.95."""
    bootstrap_samples: int
    """Number of bootstrap samples of the users, and of draws of the randomisation test."""
    group_bounds: tuple[GroupBounds, ...]
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    """Comparisons with the baselines whose training converged."""
    trainings: tuple[Training, ...] = ()
    """The models trained by gradient descent."""

    @property
    def faults(self) -> dict[str, str]:
        """Models that did not converge -> the reason."""
        return {training.model: training.fault for training in self.trainings if training.fault is not None}

    def label(self, model: str, name: str | None = None) -> str:
        """Return `name`, or the model's own name, followed by "(not converged)" if its training has a fault."""
        return f"{name or model} (not converged)" if model in self.faults else name or model


def write_figures(folder: Path, figures: Figures) -> None:
    """Write `figures.json`."""
    write_text_atomically(folder / FIGURES_FILE, figures.model_dump_json(indent=2) + "\n")


def read_figures(folder: Path) -> Figures:
    """Read `figures.json`."""
    return Figures.model_validate_json((folder / FIGURES_FILE).read_text(encoding="utf-8"))
