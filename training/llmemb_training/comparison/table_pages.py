"""Results of `llmemb table`: the records and the Markdown tables.

A line of a table is a sequence model and a row; a cell is the training and evaluation of one line on one data set with
one seed.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from llmemb.bundle import Selection
from llmemb.errors import RunError
from llmemb.files import write_text_atomically
from llmemb_training.evaluation.figures import PROTOCOLS, Figure, Protocol

TABLE_FILE = "table.md"
RECORD_FILE = "table.json"
VANILLA_SOFTMAX = "vanilla_softmax"
VANILLA_BCE = "vanilla_bce"
OURS = "llmemb"
COLUMNS = (
    ("all", "ndcg@10"),
    ("all", "hr@10"),
    ("tail", "hr@10"),
    ("head", "hr@10"),
    ("cold", "hr@10"),
    ("cold_among_cold", "hr@10"),
)
"""Group and metric; a cell is empty if `evaluate` has no such group."""
_GROUPS = {"all": "", "cold_among_cold": "cold, among cold "}
_COLD = ("cold", "cold_among_cold")
_EMPTY = ""

Values = Mapping[int, float]
"""Seed -> value of a metric."""
Column = tuple[str, str]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Row(_Record):
    """A method of the table."""

    name: str
    title: str
    trains: Literal["nothing", "vanilla", "llm_init", "rat"]
    """The step that trains it."""
    overrides: tuple[str, ...] = ()
    """Overrides of the configuration."""
    aligned_to: str | None = None
    """The row whose item table is used for alignment; it had the same search."""


class CellName(_Record):
    """The identity of a cell."""

    data: str
    """Name of the configuration file, without its suffix."""
    model: str
    """Name of the sequence model; empty for the untrained baselines."""
    row: str
    seed: int

    def __str__(self) -> str:
        return ", ".join(part for part in (self.data, self.model, self.row, f"seed {self.seed}") if part)


class Training(_Record):
    """Summary of a cell's training."""

    epochs: int
    best_epoch: int
    """The epoch whose state was kept."""
    max_epochs: int
    validation_ndcg: float
    """NDCG@10 of the validation targets in that epoch."""
    fault: str | None = None
    """Why the training did not converge, see `llmemb_training.rat.checkpoint.Progress.fault`; None if it did."""

    @property
    def at_limit(self) -> bool:
        """Whether the training stopped at `max_epochs`, not by early stopping."""
        return self.epochs >= self.max_epochs


class TableCell(_Record):
    """A finished cell."""

    name: CellName
    overrides: tuple[str, ...]
    """Overrides of the configuration file: from the command, the row and the search."""
    selections: tuple[Selection, ...]
    """Choices of the search with the first seed, with all candidates."""
    training: Training | None
    """None for the untrained baselines."""
    text_seconds: float
    """Time to get the embeddings; close to 0 if they existed."""
    seconds: float
    """Time of the last search, training and ranking."""
    commit: str | None
    """Commit of the code, with a `+` suffix for uncommitted changes; None outside a git work tree."""
    figures: tuple[Figure, ...]
    """The metrics in the table; `model` is the name of the row or of an untrained baseline."""


class Table(_Record):
    """`table.json`."""

    sources: dict[str, str]
    """Data set -> name of its source's folder."""
    rows: tuple[Row, ...]
    planned: tuple[CellName, ...]
    """All cells of the table; those not in `cells` are pending."""
    cells: tuple[TableCell, ...]
    versions: dict[str, str]
    """Versions of Python and the libraries in the process that wrote the file."""

    def values(self, data: str, model: str, row: str, column: Column, protocol: Protocol = "full") -> dict[int, float]:
        """Return the value of a metric for each completed seed."""
        return {
            cell.name.seed: figure.value
            for cell in self.cells
            if (cell.name.data, cell.name.model) == (data, model)
            for figure in cell.figures
            if (figure.model, figure.protocol, figure.group, figure.metric) == (row, protocol, *column)
        }

    def models(self, data: str) -> list[str]:
        """Return the sequence models of a data set."""
        return list(dict.fromkeys(name.model for name in self.planned if name.data == data and name.model))

    def lines(self, data: str) -> list[tuple[str, str]]:
        """Return the sequence model and row of each line; the untrained baselines, without a model, come last."""
        planned = [(name.model, name.row) for name in self.planned if name.data == data and name.model]
        untrained = [
            ("", figure.model)
            for cell in self.cells
            if cell.name.data == data and not cell.name.model
            for figure in cell.figures
        ]
        return list(dict.fromkeys([*planned, *untrained]))

    def title(self, row: str) -> str:
        """Return the title of a row."""
        return next((known.title for known in self.rows if known.name == row), row)


def write_table(folder: Path, table: Table) -> Path:
    """Write `table.json` and `table.md`; return the latter."""
    write_text_atomically(folder / RECORD_FILE, table.model_dump_json(indent=1) + "\n")
    write_text_atomically(folder / TABLE_FILE, make_markdown(table))
    return folder / TABLE_FILE


def read_table(folder: Path) -> Table:
    """Read `table.json`.

    Raises:
        RunError: there is none.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise RunError(f"{folder}: there is no {RECORD_FILE}; `llmemb table` writes it")
    return Table.model_validate_json(path.read_bytes())


def ratio(table: Table, data: str, model: str, row: str, column: Column, protocol: Protocol = "full") -> float | None:
    """Return the ratio of a row's mean to its baseline's, over the seeds that both have; None: no gain is claimed.

    The baseline is the vanilla model with full softmax and the same sequence model. It cannot rank cold items, so for
    these the baseline is the semantic nearest neighbours.
    """
    baseline = ("", "semantic_knn") if column[0] in _COLD else (model, VANILLA_SOFTMAX)
    if baseline == (model, row) or not model or failed_baseline(table, data, model) is not None:
        return None
    ours = table.values(data, model, row, column, protocol)
    return _mean_ratio(ours, table.values(data, *baseline, column, protocol))


def failed_baseline(table: Table, data: str, model: str, row: str = VANILLA_SOFTMAX) -> str | None:
    """Return why no gain over a vanilla model may be claimed; None if it may."""
    vanilla = table.values(data, model, row, ("all", "ndcg@10"))
    popular = table.values(data, "", "popular", ("all", "ndcg@10"))
    behind = [seed for seed in vanilla if vanilla[seed] <= popular.get(seed, -1.0)]
    if behind:
        return f"it is behind most popular (seed {behind[0]}: {vanilla[behind[0]]:.4f}, {popular[behind[0]]:.4f})"
    for cell in table.cells:
        here = (cell.name.data, cell.name.model, cell.name.row) == (data, model, row)
        if here and cell.training is not None and cell.training.fault is not None:
            return f"it is not converged (seed {cell.name.seed}: {cell.training.fault})"
    return None


def make_markdown(table: Table) -> str:
    """Return all tables: for each data set the full ranking, the ratios, the sampled protocol and the choices."""
    parts = [f"Cells: {len(table.cells)} of {len(table.planned)}. {_versions(table)}", _rows(table)]
    for data, source in table.sources.items():
        parts.append(f"## {source}")
        for protocol in PROTOCOLS:
            parts.append(_figures(table, data, protocol))
            if protocol == "full":
                parts.append(_ratios(table, data))
        parts.append(_choices(table, data))
    return "\n\n".join(parts) + "\n"


def make_summary(table: Table) -> str:
    """Return the summary table: for each data set the better vanilla model on validation, LLMEmb, and their ratio.

    It shows the first sequence model only.
    """
    columns = [column for column in COLUMNS if column[0] != "cold_among_cold"]
    lines = []
    for data, source in table.sources.items():
        model = table.models(data)[0]
        vanilla = _best_vanilla(table, data, model)
        base, ours = ([table.values(data, model, row, column) for column in columns] for row in (vanilla, OURS))
        lines.append([f"{source}, {model}", table.title(vanilla), *(map(_mean, base))])
        lines.append(["", table.title(OURS), *(map(_mean, ours))])
        claimed = failed_baseline(table, data, model, vanilla) is None
        times = [
            _times(_mean_ratio(mine, theirs) if claimed else None) for mine, theirs in zip(ours, base, strict=True)
        ]
        lines.append(["", "ratio", *times])
    return "\n".join(_markdown(["", "", *map(_title, columns)], lines)) + "\n"


def _best_vanilla(table: Table, data: str, model: str) -> str:
    scores = {VANILLA_SOFTMAX: 0.0}
    for row in (VANILLA_SOFTMAX, VANILLA_BCE):
        trainings = [
            cell.training
            for cell in table.cells
            if (cell.name.data, cell.name.model, cell.name.row) == (data, model, row)
        ]
        if trainings:
            scores[row] = statistics.mean(training.validation_ndcg for training in trainings if training)
    return max(scores, key=scores.__getitem__)


def _mean_ratio(ours: Values, theirs: Values) -> float | None:
    seeds = ours.keys() & theirs.keys()
    base = sum(theirs[seed] for seed in seeds)
    return sum(ours[seed] for seed in seeds) / base if base > 0 else None


def _rows(table: Table) -> str:
    lines = [
        f"- {row.title}: {', '.join(f'`{override}`' for override in row.overrides) or 'as configured'}"
        + (f"; aligned to the item table of {table.title(row.aligned_to)}" if row.aligned_to else "")
        for row in table.rows
    ]
    return "\n".join(["Rows, and what each sets in the configuration:", "", *lines])


def _versions(table: Table) -> str:
    commits = list(dict.fromkeys(cell.commit or "unknown" for cell in table.cells))
    named = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    return f"Commit {', '.join(commits) or 'unknown'}; {named}."


def _figures(table: Table, data: str, protocol: Protocol) -> str:
    title = {
        "full": "Ranked among all items",
        "sampled": "Ranked among 1 positive and sampled negatives: not comparable with the full ranking",
    }[protocol]
    lines = []
    for model, row in table.lines(data):
        values = [table.values(data, model, row, column, protocol) for column in COLUMNS]
        lines.append([model, table.title(row), _seeds(table, data, model, row), *map(_mean, values)])
    head = ["sequence model", "", "seeds", *map(_title, COLUMNS)]
    return "\n".join([f"### {title}", "", *_markdown(head, lines), "", "Mean ± standard deviation over the seeds."])


def _ratios(table: Table, data: str) -> str:
    lines = [
        [model, table.title(row), *(_times(ratio(table, data, model, row, column)) for column in COLUMNS)]
        for model, row in table.lines(data)
        if model and row != VANILLA_SOFTMAX
    ]
    failed = [
        f"No gain is claimed over {model}'s vanilla model with full softmax: {why}."
        for model in table.models(data)
        if (why := failed_baseline(table, data, model)) is not None
    ]
    title = "### Against vanilla with full softmax, cold items against semantic neighbours; among all items"
    return "\n\n".join([title, "\n".join(_markdown(["sequence model", "", *map(_title, COLUMNS)], lines)), *failed])


def _choices(table: Table, data: str) -> str:
    options = list(dict.fromkeys(s.option for c in table.cells if c.name.data == data for s in c.selections))
    lines = []
    for cell in table.cells:
        if cell.name.data != data or cell.training is None:
            continue
        chosen = {selection.option: str(selection.chosen) for selection in cell.selections}
        ended = f"{cell.training.best_epoch} of {cell.training.epochs}"
        lines.append(
            [
                *(cell.name.model, table.title(cell.name.row), str(cell.name.seed)),
                *(chosen.get(option, _EMPTY) for option in options),
                f"{cell.training.validation_ndcg:.4f}",
                ended + (", at the limit" if cell.training.at_limit else ""),
                f"{cell.seconds / 60:.1f}",
            ]
        )
    head = ["sequence model", "", "seed", *(f"`{option}`" for option in options)]
    head += ["validation NDCG@10", "best epoch", "minutes"]
    note = (
        "Options were chosen on validation with the first seed, the same candidates for each row. At the limit: ended "
        "by `rat.max_epochs`, not by `rat.patience`. Minutes: of search, training and ranking, without the embeddings."
    )
    return "\n".join(["### What was chosen, and how the trainings ended", "", *_markdown(head, lines), "", note])


def _seeds(table: Table, data: str, model: str, row: str) -> str:
    """Return the number of completed seeds, such as `3` or `1 of 3`."""
    names = [name for name in table.planned if (name.data, name.model) == (data, model)]
    planned = [name for name in names if not model or name.row == row]
    done = table.values(data, model, row, COLUMNS[0])
    return f"{len(done)}" if len(done) == len(planned) else f"{len(done)} of {len(planned)}"


def _mean(values: Values) -> str:
    if not values:
        return _EMPTY
    shown = f"{statistics.mean(values.values()):.4f}"
    return shown if len(values) == 1 else f"{shown} ± {statistics.stdev(values.values()):.4f}"


def _times(value: float | None) -> str:
    return _EMPTY if value is None else f"x {value:.2f}"


def _title(column: Column) -> str:
    group, metric = column
    return _GROUPS.get(group, f"{group} ") + metric.upper()


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]
