"""The replay of first clicks: clicks of held-out items in time order, and the figures and table of `llmemb replay`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from llmemb.errors import ConfigError, DataError
from llmemb.files import write_text_atomically
from training.config.sections import RatConfig, ReplayConfig
from training.config.seeds import derive_generator
from training.data.dataset import Dataset, DatasetInfo, Rows, Targets, count_train


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicks in the order of the replay, one array `(n,)` for each property.

    Args:
        sequences: the user's line in `Dataset.sequences`.
        after: how many warm items of the user stand before it, at least 1.
        rows: the cold item's row.
        exposures: warm interactions of everybody between the time when the item could first be taken and the click.
        earlier: clicks of the same item before it.
        interactions: warm interactions of everybody, in all.
        by_position: whether time is the position in the user's history, see `order_clicks`.
    """

    sequences: Rows
    after: Rows
    rows: Rows
    exposures: Rows
    earlier: Rows
    interactions: int
    by_position: bool

    def targets(self, dataset: Dataset, places: Sequence[int] | Rows) -> Targets:
        """Return some clicks as targets: the warm items before each, and the item."""
        users = dataset.sequences["user_id"]
        return Targets(
            user_ids=tuple(users.gather(self.sequences[places]).to_list()),
            histories=[dataset.histories[self.sequences[place]][: self.after[place]] for place in places],
            rows=self.rows[places],
        )

    def counts_before(self, places: Sequence[int] | Rows, first_row: int, num_rows: int) -> Rows:
        """Count the clicks of every cold item before each of some places, which ascend: `(len(places), C)`.

        Args:
            places: of clicks.
            first_row: of the cold items, W.
            num_rows: C.
        """
        counts = np.zeros((len(places), num_rows), dtype=np.int64)
        total, seen = np.zeros(num_rows, dtype=np.int64), 0
        for i, place in enumerate(places):
            total += np.bincount(self.rows[seen:place] - first_row, minlength=num_rows)
            counts[i], seen = total, place
        return counts


def order_clicks(dataset: Dataset, seed: int) -> Clicks:
    """Put all clicks into the order of their time.

    Time is the source's, where it can be compared between users. Where more than half of the users begin at one and
    the same time, it cannot: the source counts positions 0, 1, 2..., or has one time for everything. Then the time of
    an interaction is the share of the user's warm items that stand before it: all users begin and end together, and an
    item could be taken from the beginning. Else it could be from the time of its first interaction.

    At equal times the users stand in an order drawn by the seed, and a user's interactions in the order that `prepare`
    gave them.
    """
    length = pl.col("item_rows").list.len()
    users = dataset.sequences.with_row_index("sequence")
    begin = users.select(
        pl.min_horizontal(pl.col("times").list.first(), pl.col("cold_times").list.min()).alias("begin")
    )
    _, together = np.unique(begin["begin"].to_numpy(), return_counts=True)
    by_position = bool(2 * together.max() > users.height)
    if by_position:
        warm = users.select((pl.int_ranges(0, length) / length).explode())
        time = pl.col("cold_after") / length
    else:
        warm = users.select(pl.col("times").explode())
        time = pl.col("cold_times")
    passed = np.sort(warm.to_series().to_numpy())
    cold = (
        users.select("sequence", "cold_rows", "cold_after", time.alias("cold_times"))
        .explode("cold_rows", "cold_after", "cold_times")
        .drop_nulls("cold_rows")
        .with_columns(pl.col("cold_times").min().over("cold_rows").alias("appeared"))
        .filter(pl.col("cold_after") > 0)
    )
    order_of_user = derive_generator(seed, "replay", "ties").permutation(users.height)
    sequences, times = cold["sequence"].to_numpy().astype(np.int64), cold["cold_times"].to_numpy()
    order = np.lexsort((np.arange(cold.height), order_of_user[sequences], times))
    cold = cold[order].with_columns(pl.int_range(pl.len()).over("cold_rows").alias("earlier"))
    appeared = 0 if by_position else np.searchsorted(passed, cold["appeared"].to_numpy())
    return Clicks(
        sequences=sequences[order],
        after=cold["cold_after"].to_numpy(),
        rows=cold["cold_rows"].to_numpy(),
        exposures=np.searchsorted(passed, times[order]) - appeared,
        earlier=cold["earlier"].to_numpy(),
        interactions=len(passed),
        by_position=by_position,
    )


def plan_replay(config: ReplayConfig, rat: RatConfig, dataset: Dataset, seed: int) -> tuple[Clicks, Rows]:
    """Return all clicks, and the places of those that are measured: after the last k, of the measured items.

    Raises:
        ConfigError: scores are cosines, no item is held out, or no item has enough clicks.
        DataError: the dataset has no times.
    """
    if rat.scoring != "dot":
        raise ConfigError(
            f"replay: rat.scoring is {rat.scoring!r}; the residual of first clicks adds to a score, so it must be 'dot'"
        )
    if dataset.num_warm == dataset.num_items:
        raise ConfigError("replay: no item is held out of the training; set prepare.cold_share above 0")
    if "cold_times" not in dataset.sequences.columns:
        raise DataError("prepare/sequences.parquet holds no times: remove the run's folder `prepare` and prepare again")
    clicks = order_clicks(dataset, seed)
    # The halves are drawn whatever is measured, so that each is the other's rest.
    drawn = derive_generator(seed, "replay", "halves").permutation(np.arange(dataset.num_warm, dataset.num_items))
    half = len(drawn) // 2
    measured = {"all": drawn, "first_half": drawn[:half], "second_half": drawn[half:]}[config.items]
    own = np.isin(clicks.rows, measured)
    later = own & (clicks.earlier >= config.ks[-1])
    if not later.any():
        most = int(clicks.earlier[own].max()) + 1 if own.any() else 0
        raise ConfigError(
            f"replay.ks ends with {config.ks[-1]}, but the most clicks that any of the {len(measured)} measured items "
            f"has is {most}; the last k must be below that"
        )
    if config.later_clicks is not None:
        later &= clicks.earlier < config.ks[-1] + config.later_clicks
    return clicks, np.flatnonzero(later)


def with_first_clicks(dataset: Dataset, clicks: Clicks, first: int) -> Dataset:
    """Return a dataset whose training histories hold the first clicks of the cold items, which so become warm.

    Validation and test targets stay the same: a click that came after the validation target stands before it. Clicks of
    users with fewer than three warm items are left out where with them such a history would have targets.
    """
    chosen = np.flatnonzero(clicks.earlier < first)
    chosen = chosen[np.lexsort((chosen, clicks.sequences[chosen]))]
    histories = list(dataset.histories)
    sequences, starts = np.unique(clicks.sequences[chosen], return_index=True)
    for sequence, places in zip(sequences, np.split(chosen, starts[1:]), strict=True):
        history = histories[sequence]
        if len(history) < 3 <= len(history) + len(places):
            continue
        last = len(history) - 2 if len(history) >= 3 else len(history)
        histories[sequence] = np.insert(history, np.minimum(clicks.after[places], last), clicks.rows[places])
    columns = {"user_id": dataset.sequences["user_id"], "item_rows": histories, "cold_rows": [[]] * len(histories)}
    rows = pl.List(pl.Int64)
    made = pl.DataFrame(columns, schema_overrides={"item_rows": rows, "cold_rows": rows})
    return Dataset(
        info=DatasetInfo(**dataset.info.model_dump(exclude={"num_warm"}), num_warm=dataset.num_items),
        items=dataset.items.with_columns(train_count=count_train(made, dataset.num_items)),
        sequences=made,
        cold=dataset.cold.clear(),
    )


FIGURES_FILE = "figures.json"
TABLE_FILE = "table.md"

FROZEN = "frozen"
FIRST_CLICKS = "first clicks"
TRAINED_ANEW = "trained anew"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ReplayRow(_Record):
    """A line of the table; all figures by the ranks among all items."""

    model: str
    """`frozen`, `first clicks` or `trained anew`."""
    clicks: int
    """How many clicks of an item are known at most, k."""
    later_hr_at_10: float
    """Of the held-out items' clicks after the last k."""
    later_ndcg_at_10: float
    ordinary_hr_at_10: float | None
    """Of the ordinary test, with what every item has learned in the end; None where no user has a test target."""
    ordinary_ndcg_at_10: float | None


class ReplayFigures(_Record):
    """`figures.json`."""

    seed: int
    """Of the run."""
    by_position: bool
    """Whether time is the position in the history, see `training.evaluation.replay.order_clicks`."""
    held_out_items: int
    measured_items: int
    """Those of them that have later clicks."""
    later_clicks: int
    """Targets after the last k."""
    ordinary_targets: int
    """Targets of the test."""
    rows: tuple[ReplayRow, ...]
    """The frozen recommender first."""


def write_replay(folder: Path, figures: ReplayFigures) -> None:
    """Write `figures.json` and `table.md`."""
    write_text_atomically(folder / FIGURES_FILE, figures.model_dump_json(indent=2) + "\n")
    write_text_atomically(folder / TABLE_FILE, make_replay_table(figures))


def read_replay(folder: Path) -> ReplayFigures:
    """Read `figures.json`."""
    return ReplayFigures.model_validate_json((folder / FIGURES_FILE).read_text(encoding="utf-8"))


def make_replay_table(figures: ReplayFigures) -> str:
    """Write Markdown: a line for each row, behind each figure its ratio to the frozen recommender's."""
    first = figures.rows[0]
    names = ("later_hr_at_10", "later_ndcg_at_10", "ordinary_hr_at_10", "ordinary_ndcg_at_10")
    lines = [
        "### First clicks of new items, replayed in time order, ranked among all items",
        "",
        "| | clicks | later HR@10 | later NDCG@10 | ordinary HR@10 | ordinary NDCG@10 |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures.rows:
        cells = [_cell(getattr(row, name), None if row is first else getattr(first, name)) for name in names]
        lines.append(f"| {' | '.join([row.model, str(row.clicks), *cells])} |")
    time = (
        "Times cannot be compared between users, so the replay goes by the position in each user's history."
        if figures.by_position
        else "The replay goes by the source's times."
    )
    lines += [
        "",
        f"Later: {figures.later_clicks:,} clicks after the first {figures.rows[-1].clicks} of "
        f"{figures.measured_items:,} new items, each predicted by what was known before it; "
        f"{figures.held_out_items:,} items are held out and learn. Ordinary: the {figures.ordinary_targets:,} targets "
        f"of the test, by all that was learned in the end. {time}",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: float | None, frozen: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" (x {value / frozen:.2f})" if frozen else "")
