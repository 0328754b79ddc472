"""Markdown tables of the metrics: first the full ranking, then the sampled protocol, never both in one table."""

from collections.abc import Iterable, Sequence

from llmemb_training.evaluation.figures import Comparison, Figure, Figures, GroupBounds, Protocol
from llmemb_training.evaluation.grouping import ALL, COLD, COLD_AMONG_COLD, HEAD, TAIL
from llmemb_training.evaluation.measuring import COMPARED_METRICS

_TITLES: dict[Protocol, str] = {
    "full": "among all items",
    "sampled": "among 1 positive and sampled negatives: not comparable with the full ranking",
}
_MAIN = (ALL, TAIL, HEAD, COLD, COLD_AMONG_COLD)
_CATALOGUE = {"coverage@10": "coverage", "tail_share@10": "tail share", "gini@10": "Gini"}
_SMALLEST_P = 0.001
"""Smaller p-values are shown as "p < 0.001"."""


def make_tables(figures: Figures) -> str:
    """Return the tables: full ranking, catalogue metrics, groups and comparisons, then the sampled protocol.

    Models that did not converge are listed at the top and marked in every table.
    """
    named = tuple(f.model_copy(update={"model": figures.label(f.model)}) for f in figures.figures)
    figures = figures.model_copy(update={"figures": named})
    parts = [
        *(f"**Warning**: {model} did not converge: {fault}." for model, fault in figures.faults.items()),
        _ranking(figures, "full"),
        _catalogue(figures),
        _groups(figures, "target_train_count", "popularity of the target"),
        _groups(figures, "history_length", "length of the history"),
        _comparisons(figures, "full"),
        _ranking(figures, "sampled"),
        _comparisons(figures, "sampled"),
    ]
    return "\n\n".join(parts) + "\n"


def _ranking(figures: Figures, protocol: Protocol) -> str:
    columns = [(ALL, metric) for metric in (*COMPARED_METRICS, "mrr")]
    columns += [(group, metric) for group in _MAIN[1:] for metric in COMPARED_METRICS]
    chosen = [f for f in figures.figures if f.protocol == protocol and f.metric not in _CATALOGUE]
    return "\n".join(
        [
            f"### Ranked {_TITLES[protocol]}",
            "",
            *_table(chosen, columns),
            "",
            f"In brackets the {figures.confidence:.0%} interval, by {figures.bootstrap_samples:,} resamples of the "
            f"users. {_targets(chosen, _MAIN)}; tail: at most {figures.tail_max_train_count} training interactions.",
        ]
    )


def _groups(figures: Figures, by: str, title: str) -> str:
    groups = [bounds for bounds in figures.group_bounds if bounds.by == by]
    names = [group.group for group in groups if group.group not in _MAIN]
    chosen = [figure for figure in figures.figures if figure.protocol == "full"]
    lines = [f"### Ranked among all items, by {title}", ""]
    lines += _table(chosen, [(name, "ndcg@10") for name in names])
    described = "; ".join(f"{group.group} {_span(group)}" for group in groups if group.group in names)
    return "\n".join([*lines, "", f"Bounds: {described}. {_targets(chosen, names)}."])


def _catalogue(figures: Figures) -> str:
    chosen = [figure for figure in figures.figures if figure.metric in _CATALOGUE]
    lines = ["### What is recommended: the ten best of each user of the test", ""]
    lines += _rows(["model", *_CATALOGUE.values()], _cells(chosen, [(ALL, metric) for metric in _CATALOGUE]))
    return "\n".join(
        [
            *lines,
            "",
            "Coverage: share of the catalogue that is recommended to anyone. Tail share: of what is recommended. "
            "Gini: 0 all items alike, towards 1 few have all.",
        ]
    )


def _comparisons(figures: Figures, protocol: Protocol) -> str:
    chosen = [comparison for comparison in figures.comparisons if comparison.protocol == protocol]
    columns = list(dict.fromkeys((c.group, c.metric) for c in chosen))
    cells = {(c.baseline, c.group, c.metric): _comparison(c) for c in chosen}
    rows = [
        [baseline, *(cells[baseline, group, metric] for group, metric in columns)]
        for baseline in dict.fromkeys(c.baseline for c in chosen)
    ]
    model = chosen[0].model if chosen else "llmemb"
    return "\n".join(
        [
            f"### {model} against each baseline, ranked {_TITLES[protocol]}",
            "",
            *_rows(["baseline", *map(_heading, columns)], rows),
            "",
            f"Difference, its {figures.confidence:.0%} interval, ratio, and the two-sided p of a paired randomisation "
            "test over the users.",
        ]
    )


def _comparison(comparison: Comparison) -> str:
    ratio = "" if comparison.ratio is None else f", x {comparison.ratio:.2f}"
    p = f"p < {_SMALLEST_P}" if comparison.p_value < _SMALLEST_P else f"p {comparison.p_value:.3f}"
    return f"{comparison.difference:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}]{ratio}, {p}"


def _table(figures: Sequence[Figure], columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return one row per model; columns without values are omitted."""
    present = {(figure.group, figure.metric) for figure in figures}
    kept = [column for column in columns if column in present]
    return _rows(["model", *map(_heading, kept)], _cells(figures, kept))


def _cells(figures: Sequence[Figure], columns: Sequence[tuple[str, str]]) -> list[list[str]]:
    cells = {(figure.model, figure.group, figure.metric): _cell(figure) for figure in figures}
    models = dict.fromkeys(figure.model for figure in figures)
    return [[model, *(cells[model, group, metric] for group, metric in columns)] for model in models]


def _cell(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _heading(column: tuple[str, str]) -> str:
    group, metric = column
    return f"{group.replace('_', ' ')} {metric.upper()}" if group == COLD_AMONG_COLD else f"{group} {metric.upper()}"


def _targets(figures: Iterable[Figure], groups: Sequence[str]) -> str:
    targets = {figure.group: figure.targets for figure in figures}
    return "Targets: " + ", ".join(f"{group} {targets[group]:,}" for group in groups if group in targets)


def _span(bounds: GroupBounds) -> str:
    if bounds.high is None:
        return f"{bounds.low} or more"
    return f"{bounds.low} to {bounds.high}"
