"""The summary at the top of the report, in sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmemb_training.evaluation.figures import Comparison, Figure, Figures
from llmemb_training.report.wording import Wording

OURS, VANILLA = "llmemb", "vanilla"
BASELINES = {"all": VANILLA, "tail": VANILLA, "head": VANILLA, "cold": "semantic_knn"}
"""Baseline of each group; a vanilla model cannot recommend new items."""
SIGNIFICANT = 0.05
_SPACE = "\N{NO-BREAK SPACE}"
MUCH = 2.0
"""Minimum ratio that is shown as a multiple, not as a percentage."""

Values = Mapping[tuple[str, str], Figure]
"""(model, group) -> HR@10 of the full ranking."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Our value and a baseline's for one group.

    Args:
        group: key of the group.
        title: title of the group.
        note: bounds of the group.
        ours: our value as text, such as `11.9 %`.
        baseline: name of the baseline.
        theirs: the baseline's value as text.
        change: such as `+19 %`; "" if there is no ratio or the baseline did not converge.
        verdict: `better`, `worse` or `even` (the difference is not significant); `none` if the baseline did not
            converge.
        p_value: p-value of the paired test, or None.
    """

    group: str
    title: str
    note: str
    ours: str
    baseline: str
    theirs: str
    change: str
    verdict: str
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of the report."""

    warnings: tuple[str, ...]
    """One sentence for each model that did not converge."""
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]


def summarise(figures: Figures, words: Wording) -> Summary:
    """Write the summary of the full ranking by HR@10."""
    values = {
        (figure.model, figure.group): figure
        for figure in figures.figures
        if (figure.protocol, figure.metric) == ("full", "hr@10") and figure.targets > 0
    }
    compared = {
        (one.baseline, one.group): one
        for one in figures.comparisons
        if (one.model, one.protocol, one.metric) == (OURS, "full", "hr@10")
    }
    tiles = []
    for group, baseline in BASELINES.items():
        ours, theirs = values.get((OURS, group)), values.get((baseline, group))
        if ours is not None and theirs is not None:
            tile = _tile(group, ours, theirs, compared.get((baseline, group)), words)
            tiles.append(replace(tile, change="", verdict="none") if baseline in figures.faults else tile)
    return Summary(
        warnings=tuple(_warning(model, fault, words) for model, fault in figures.faults.items()),
        sentences=tuple(_sentence(tile, values, words) for tile in tiles),
        tiles=tuple(tiles),
    )


def _warning(model: str, fault: str, words: Wording) -> str:
    rest = "" if model == OURS else " It is not a baseline, and no gain over it is shown."
    return f"{words.model(model)}: {fault}.{rest}"


def _tile(group: str, ours: Figure, theirs: Figure, compared: Comparison | None, words: Wording) -> Tile:
    p_value = None if compared is None else compared.p_value
    if ours.value == theirs.value or (p_value is not None and p_value >= SIGNIFICANT):
        verdict = "even"
    else:
        verdict = "better" if ours.value > theirs.value else "worse"
    return Tile(
        group=group,
        title=words.group(group),
        note=words.group_note(group),
        ours=per_cent(ours.value),
        baseline=words.model(theirs.model),
        theirs=per_cent(theirs.value),
        change=_change(ours.value, theirs.value),
        verdict=verdict,
        p_value=p_value,
    )


def per_cent(value: float) -> str:
    """Write a share such as 0.1191 as `11.9 %`."""
    return f"{100 * value:.1f}{_SPACE}%"


def _change(ours: float, theirs: float) -> str:
    if theirs == 0:
        return ""
    ratio = ours / theirs
    return f"×{ratio:.1f}" if ratio >= MUCH else f"{100 * (ratio - 1):+.0f}{_SPACE}%".replace("-", "−")  # noqa: RUF001


def _sentence(tile: Tile, values: Values, words: Wording) -> str:
    targets = values[OURS, tile.group].targets
    beginning = {
        "all": f"For {targets:,} users, {words.model(OURS)} finds the next item among its first ten in {tile.ours} of "
        "the cases",
        "tail": f"Where the next item is a tail item ({tile.note}), in {tile.ours}",
        "head": f"Where it is a head item, in {tile.ours}",
        "cold": f"Of {targets:,} first interactions with new items, held out of all training, it finds {tile.ours}",
    }[tile.group]
    baseline = words.model_in_sentence(BASELINES[tile.group])
    beside = f"{baseline} {tile.theirs}" if tile.group == "cold" else f"{baseline} in {tile.theirs}"
    remarks = [tile.change] if tile.change else []
    if tile.verdict == "even":
        remarks.append("which may be chance")
    sentence = f"{beginning}, {beside}" + (f" ({', '.join(remarks)})" if remarks else "")
    if tile.group == "cold":
        rest = [model for model in ("popular", VANILLA) if (model, "cold") in values]
        sentence += "".join(
            f", {words.model_in_sentence(model)} {per_cent(values[model, 'cold'].value)}" for model in rest
        )
    return f"{sentence}."
