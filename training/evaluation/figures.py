"""`figures.json`: every number of the evaluation, with the interval and the test behind it."""

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
    """One number of the evaluation."""

    model: str
    protocol: Protocol
    group: str
    """`all`, `cold`, or a name of `Figures.group_bounds`."""
    metric: str
    """`hr@k`, `ndcg@k` or `mrr`; of the catalogue, `coverage@10`, `tail_share@10` or `gini@10`."""
    value: float
    low: float | None
    """Lower confidence bound; None for a metric of the catalogue, which has no users to resample."""
    high: float | None
    """Upper confidence bound."""
    targets: int
    """How many targets the mean is over; of the catalogue, how many recommendation lists."""


class Comparison(_Record):
    """A model against a baseline, user by user."""

    model: str
    baseline: str
    protocol: Protocol
    group: str
    """`all`, `tail`, `head` or `cold`."""
    metric: str
    """`hr@10` or `ndcg@10`."""
    difference: float
    """Model less baseline."""
    ratio: float | None
    """Model over baseline; None where the baseline has 0."""
    low: float
    """Lower confidence bound of the difference."""
    high: float
    """Upper confidence bound of the difference."""
    p_value: float
    """Two-sided, of the paired randomisation test, see `training.evaluation.statistics`."""


class Training(_Record):
    """How the training of a model went."""

    model: str
    epochs: int
    best_epoch: int
    validation_ndcg: float
    """NDCG@10 of the best epoch."""
    popular_ndcg: float
    """NDCG@10 of the most popular items on the same targets."""
    fault: str | None
    """Why the model cannot stand for its kind, None where it can. A baseline with a fault is compared with nothing."""


class GroupBounds(_Record):
    """What puts a test target into a group. Cold targets are in the group `cold` alone."""

    group: str
    """`tail` and `head`, `popularity_1` (the least) to `popularity_5`; `tail_users` and `head_users`, `length_1`
    (the shortest) to `length_5`. Fewer than five where equal values allow no more."""
    by: GroupedBy
    """Training interactions of the target's item, or items of the history before the target: columns of
    `predictions.parquet`."""
    low: int
    """Least value, inclusive."""
    high: int | None
    """Greatest value, inclusive; None: no bound."""
    members: int
    """Warm items, or users of the test, within the bounds."""


class Figures(_Record):
    """`figures.json`."""

    seed: int
    """Of the run."""
    tail_max_train_count: int
    """An item belongs to the tail when it has at most so many training interactions."""
    confidence: float
    """Of the intervals, such as 0.95."""
    bootstrap_samples: int
    """Resamples of the users behind each interval, and draws of the randomisation test."""
    group_bounds: tuple[GroupBounds, ...]
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    """Those with baselines whose training has no fault."""
    trainings: tuple[Training, ...] = ()
    """Of the models that a gradient trained."""

    @property
    def faults(self) -> dict[str, str]:
        """Models that did not converge -> why that is said."""
        return {training.model: training.fault for training in self.trainings if training.fault is not None}

    def label(self, model: str, name: str | None = None) -> str:
        """Return a model's name, or the one given for it, and behind it that it did not converge where that is so."""
        return f"{name or model} (not converged)" if model in self.faults else name or model


def write_figures(folder: Path, figures: Figures) -> None:
    """Write `figures.json`."""
    write_text_atomically(folder / FIGURES_FILE, figures.model_dump_json(indent=2) + "\n")


def read_figures(folder: Path) -> Figures:
    """Read `figures.json`."""
    return Figures.model_validate_json((folder / FIGURES_FILE).read_text(encoding="utf-8"))
