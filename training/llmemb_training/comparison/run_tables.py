"""Output of `llmemb runs`: a list of runs, or a comparison of two or more runs."""

import json
from collections.abc import Sequence

from llmemb_training.comparison.run_summary import RunSummary
from llmemb_training.rat.recommenders import LLMEMB

FIGURES: tuple[tuple[str, str], ...] = (
    ("all", "ndcg@10"),
    ("all", "hr@10"),
    ("tail", "hr@10"),
    ("cold", "hr@10"),
)
"""Group and metric of the columns, for ranking among all items."""

_TITLES = [f"{group} {metric.upper()}" for group, metric in FIGURES]
_NONE = "-"


def list_runs(runs: Sequence[RunSummary]) -> str:
    """Return the list of runs: main options, progress and metrics of each, with one line per model."""
    parts = []
    for run in runs:
        when = _NONE if run.changed is None else run.changed.strftime("%Y-%m-%d %H:%M UTC")
        lines = [
            f"{run.path}",
            f"  {run.data} by {run.llm}, {run.sequence_model}, seed {_value(run, 'seed')}; {when}; {run.progress}; "
            f"bundle {run.bundle_id or _NONE}",
        ]
        rows = [
            [_label(run, model), *(_number(run.figure(model, *figure)) for figure in FIGURES)] for model in run.models()
        ]
        lines += [f"  {line}" for line in _aligned([["", *_TITLES], *rows])] if rows else []
        lines += [f"  warning: {model} did not converge: {fault}" for model, fault in run.faults.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def compare_runs(runs: Sequence[RunSummary]) -> str:
    """Return the differences in configuration, metrics and durations between runs, with one column per run.

    Each value of a later run is followed by its difference from the first run's.
    """
    head = ["", *(str(run.path) for run in runs)]
    options = dict.fromkeys(name for run in runs for name in run.options)
    parts = [
        ("Configuration, where it differs", [[name, *(_value(run, name) for run in runs)] for name in options]),
        ("Ranked among all items", _figure_rows(runs)),
        ("Did not converge", [[model, *(run.faults.get(model, _NONE) for run in runs)] for model in _faulty(runs)]),
        ("Seconds of the steps", _second_rows(runs)),
        ("Bundle", [["id", *(run.bundle_id or _NONE for run in runs)]]),
    ]
    written = []
    for title, rows in parts:
        different = [row for row in rows if len(set(row[1:])) > 1]
        lines = _aligned([head, *different]) if different else ["the same"]
        written.append("\n".join([title, *(f"  {line}" for line in lines)]) + "\n")
    return "\n".join(written)


def _figure_rows(runs: Sequence[RunSummary]) -> list[list[str]]:
    models = dict.fromkeys([LLMEMB, *(model for run in runs for model in run.models())])
    rows = []
    for model in models:
        for (group, metric), title in zip(FIGURES, _TITLES, strict=True):
            first, *others = (run.figure(model, group, metric) for run in runs)
            rows.append([f"{model} {title}", _number(first), *(_beside(other, first) for other in others)])
    return rows


def _label(run: RunSummary, model: str) -> str:
    return model if run.figures is None else run.figures.label(model)


def _faulty(runs: Sequence[RunSummary]) -> list[str]:
    return list(dict.fromkeys(model for run in runs for model in run.faults))


def _second_rows(runs: Sequence[RunSummary]) -> list[list[str]]:
    steps = dict.fromkeys(step for run in runs for step in run.seconds)
    return [[step, *(f"{run.seconds[step]:.1f}" if step in run.seconds else _NONE for run in runs)] for step in steps]


def _beside(value: float | None, first: float | None) -> str:
    if value is None or first is None or value == first:
        return _number(value)
    return f"{value:.4f} ({value - first:+.4f})"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4f}"


def _value(run: RunSummary, option: str) -> str:
    if option not in run.options:
        return _NONE
    value = run.options[option]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns: the first column left-aligned, the others right-aligned."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))]).rstrip()
        for name, *cells in rows
    ]
