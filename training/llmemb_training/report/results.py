"""Tables and bar charts of the metrics in the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmemb_training.evaluation.figures import Comparison, Figure, Figures, Protocol
from llmemb_training.report.wording import Wording, in_order

MAIN_GROUPS = ("all", "tail", "head", "cold", "cold_among_cold")
MAIN_METRICS = ("hr@10", "ndcg@10")
CATALOGUE_METRICS = ("coverage@10", "tail_share@10", "gini@10")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of figures."""

    group: str
    note: str
    metric: str
    targets: int
    is_catalogue: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A value; `best` if no other model has a better one."""

    figure: Figure | None
    best: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A model's figures."""

    model: str
    label: str
    note: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar; positions are percentages of the panel's width, `low` and `high` are None without an interval."""

    model: str
    label: str
    figure: Figure
    length: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class BarPanel:
    """The bars of one group."""

    title: str
    note: str
    targets: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """Comparisons of our model with one baseline, one for each column or None."""

    baseline: str
    comparisons: tuple[Comparison | None, ...]


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """Comparisons of our model with every baseline; a column is a group and a metric."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[ComparedRow, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """The tables of one protocol."""

    protocol: Protocol
    main: Table
    others: tuple[Table, ...]
    compared: ComparedTable


def make_results(figures: Figures, protocol: Protocol, words: Wording) -> Results:
    """Lay out the tables of one protocol."""
    groups = list(dict.fromkeys(figure.group for figure in figures.figures if figure.protocol == protocol))
    metrics = list(dict.fromkeys(figure.metric for figure in figures.figures if figure.protocol == protocol))
    ranking = sorted((name for name in metrics if name not in CATALOGUE_METRICS), key=_metric_order)
    by_group = {
        "By popularity of the target": [g for g in groups if g.startswith("popularity_")],
        "By length of the history": [g for g in groups if g.startswith("length_")],
        "By tail and head users": [g for g in groups if g.endswith("_users")],
    }
    tables = [_table(figures, protocol, words, "Other cut-offs", ["all"], ranking)]
    tables += [
        _table(figures, protocol, words, caption, sorted(names), MAIN_METRICS) for caption, names in by_group.items()
    ]
    tables.append(_table(figures, protocol, words, "Recommended items", ["all"], CATALOGUE_METRICS))
    return Results(
        protocol=protocol,
        main=_table(figures, protocol, words, "All models", MAIN_GROUPS, MAIN_METRICS),
        others=tuple(table for table in tables if table.columns),
        compared=_compare(figures, protocol, words),
    )


def _compare(figures: Figures, protocol: Protocol, words: Wording) -> ComparedTable:
    chosen = {(one.baseline, one.group, one.metric): one for one in figures.comparisons if one.protocol == protocol}
    keys = [
        (group, metric)
        for group in MAIN_GROUPS
        for metric in MAIN_METRICS
        if any(key == [group, metric] for (_, *key) in chosen)
    ]
    return ComparedTable(
        columns=tuple((words.group(group), words.metric(metric)) for group, metric in keys),
        rows=tuple(
            ComparedRow(words.model(baseline), tuple(chosen.get((baseline, *key)) for key in keys))
            for baseline in in_order({baseline for baseline, *_ in chosen})
        ),
    )


def _metric_order(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    return name, int(k or 0)


def _table(
    figures: Figures, protocol: Protocol, words: Wording, caption: str, groups: Sequence[str], metrics: Sequence[str]
) -> Table:
    chosen = {
        (figure.model, figure.group, figure.metric): figure
        for figure in figures.figures
        if figure.protocol == protocol and figure.group in groups and figure.metric in metrics
    }
    columns, best = [], {}
    for group in groups:
        for metric in metrics:
            here = [figure for (_, *key), figure in chosen.items() if key == [group, metric]]
            if here:
                note = words.group_note(group)
                column = Column(
                    words.group(group), note, words.metric(metric), here[0].targets, metric in CATALOGUE_METRICS
                )
                columns.append((group, metric, column))
                # For Gini, smaller is better: items are recommended more evenly.
                best[group, metric] = (min if metric.startswith("gini") else max)(figure.value for figure in here)
    rows = []
    for model in in_order({model for model, *_ in chosen}):
        cells = []
        for group, metric, _ in columns:
            figure = chosen.get((model, group, metric))
            cells.append(Cell(figure, figure is not None and figure.value == best[group, metric]))
        rows.append(Row(model, words.model(model), words.model_note(model), tuple(cells)))
    return Table(caption, tuple(column for *_, column in columns), tuple(rows))


def make_bars(figures: Figures, words: Wording, metric: str = "hr@10") -> tuple[BarPanel, ...]:
    """Lay out the bars of the full ranking, with one panel and one scale for each main group."""
    panels = []
    for group in MAIN_GROUPS:
        chosen = {
            figure.model: figure
            for figure in figures.figures
            if (figure.protocol, figure.group, figure.metric) == ("full", group, metric)
        }
        if not chosen:
            continue
        top = max(max(figure.value, figure.high or 0.0) for figure in chosen.values()) or 1.0
        bars = tuple(
            Bar(
                model=model,
                label=words.model(model),
                figure=chosen[model],
                length=100 * chosen[model].value / top,
                low=_per_cent(chosen[model].low, top),
                high=_per_cent(chosen[model].high, top),
            )
            for model in in_order(set(chosen))
        )
        panels.append(BarPanel(words.group(group), words.group_note(group), bars[0].figure.targets, bars))
    return tuple(panels)


def _per_cent(value: float | None, top: float) -> float | None:
    return None if value is None else 100 * value / top
