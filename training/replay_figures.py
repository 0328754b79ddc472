"""`replay/figures.json`, and the table that `llmemb replay` prints of it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from llmemb.files import write_text_atomically

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
    """Whether time is the position in the history, see `training.replaying.order_clicks`."""
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
