"""Replay of first clicks: clicks on held-out items in time order, and the metrics and table of `llmemb replay`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from llmemb.errors import ConfigError, DataError
from llmemb.files import write_text_atomically
from llmemb_training.config.sections import RatConfig, ReplayConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset, DatasetInfo, Rows, Targets, count_train


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicks in replay order, one array `(n,)` for each property.

    Args:
        sequences: the user's row in `Dataset.sequences`.
        after: number of the user's warm items before the click, at least 1.
        rows: the cold item's row.
        exposures: number of warm interactions of all users between the time the item became available and the click.
        earlier: number of earlier clicks on the same item.
        interactions: total number of warm interactions of all users.
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
        """Return some clicks as targets, each with the warm items before it as the history."""
        users = dataset.sequences["user_id"]
        return Targets(
            user_ids=tuple(users.gather(self.sequences[places]).to_list()),
            histories=[dataset.histories[self.sequences[place]][: self.after[place]] for place in places],
            rows=self.rows[places],
        )

    def counts_before(self, places: Sequence[int] | Rows, first_row: int, num_rows: int) -> Rows:
        """Count the clicks on each cold item before each of some positions: `(len(places), C)`.

        Args:
            places: positions of clicks, ascending.
            first_row: first row of the cold items, W.
            num_rows: number of cold items, C.
        """
        counts = np.zeros((len(places), num_rows), dtype=np.int64)
        total, seen = np.zeros(num_rows, dtype=np.int64), 0
        for i, place in enumerate(places):
            total += np.bincount(self.rows[seen:place] - first_row, minlength=num_rows)
            counts[i], seen = total, place
        return counts


def order_clicks(dataset: Dataset, seed: int) -> Clicks:
    """Sort all clicks by time.

    The times of the source are used if they are comparable between users; an item is then available from the time of
    its first interaction. If more than half of the users have the same first time, the times are not comparable: the
    source has positions 0, 1, 2..., or one time for all interactions. The time of an interaction is then the share of
    the user's warm items before it, so that all users begin and end together, and all items are available from the
    start.

    At equal times, users are in a random order that depends on the seed, and the interactions of a user keep the order
    of `prepare`.
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
    """Return all clicks, and the positions of the measured ones: those after the last k clicks on a measured item.

    Raises:
        ConfigError: `rat.scoring` is `cosine`, no item is held out, or no item has enough clicks.
        DataError: the dataset has no times.
    """
    if rat.scoring != "dot":
        raise ConfigError(
            f"replay: rat.scoring is {rat.scoring!r}; the residual of first clicks adds to a score, so it must be 'dot'"
        )
    if dataset.num_warm == dataset.num_items:
        raise ConfigError("replay: no items are held out of training: set prepare.cold_share above 0")
    if "cold_times" not in dataset.sequences.columns:
        raise DataError("prepare/sequences.parquet has no times: delete the run's folder `prepare` and prepare again")
    clicks = order_clicks(dataset, seed)
    # The draw does not depend on which half is measured, so that the two halves are complementary.
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
    """Return a dataset whose training histories include the first clicks on cold items, which makes these items warm.

    Validation and test targets stay the same: a click after the validation target is inserted before it. Clicks of a
    user with fewer than three warm items are omitted if they would make the history long enough to have targets.
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
    """A row of the table; all metrics are for ranking among all items."""

    model: str
    """`frozen`, `first clicks` or `trained anew`."""
    clicks: int
    """Maximum number of known clicks on an item, k."""
    later_hr_at_10: float
    """HR@10 of the clicks on held-out items after the last k."""
    later_ndcg_at_10: float
    ordinary_hr_at_10: float | None
    """HR@10 of the test targets after all clicks have been learned; None if there are no test targets."""
    ordinary_ndcg_at_10: float | None


class ReplayFigures(_Record):
    """`figures.json`."""

    seed: int
    """Seed of the run."""
    by_position: bool
    """Whether time is the position in the history; see `llmemb_training.evaluation.replay.order_clicks`."""
    held_out_items: int
    measured_items: int
    """Number of held-out items with later clicks."""
    later_clicks: int
    """Number of clicks after the last k."""
    ordinary_targets: int
    """Number of test targets."""
    rows: tuple[ReplayRow, ...]
    """The rows of the table; the frozen recommender comes first."""


def write_replay(folder: Path, figures: ReplayFigures) -> None:
    """Write `figures.json` and `table.md`."""
    write_text_atomically(folder / FIGURES_FILE, figures.model_dump_json(indent=2) + "\n")
    write_text_atomically(folder / TABLE_FILE, make_replay_table(figures))


def read_replay(folder: Path) -> ReplayFigures:
    """Read `figures.json`."""
    return ReplayFigures.model_validate_json((folder / FIGURES_FILE).read_text(encoding="utf-8"))


def make_replay_table(figures: ReplayFigures) -> str:
    """Return the Markdown table; each value is followed by its ratio to the frozen recommender's."""
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
