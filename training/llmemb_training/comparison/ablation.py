"""Ablation study: train variants of a configuration with several seeds and compare their metrics."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from llmemb.errors import ConfigError
from llmemb.files import write_text_atomically
from llmemb_training import pipeline
from llmemb_training.config import Config, load_config
from llmemb_training.evaluation.figures import PROTOCOLS, Figures, Protocol, read_figures
from llmemb_training.rat.recommenders import LLMEMB
from llmemb_training.runs.progress import say
from llmemb_training.runs.run_folder import RunFolder

LAST_STEP = "evaluate"
GROUPS = ("all", "tail", "head", "cold", "cold_among_cold")
METRICS = ("ndcg@10", "hr@10")
_TITLES: dict[Protocol, str] = {
    "full": "Ranked among all items",
    "sampled": "Ranked among 1 positive and sampled negatives: not comparable with the full ranking",
}


class AblationFigure(BaseModel):
    """One cell of the tables: a metric over the seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    """A variant of LLMEmb, or a baseline."""
    protocol: Protocol
    group: str
    metric: str
    values: tuple[float, ...]
    """One value for each seed, in the order of the seeds."""
    mean: float
    deviation: float | None
    """Sample standard deviation; None for one seed."""
    not_converged: int = 0
    """Number of seeds whose training did not converge. If it is above 0, no gain over this baseline may be claimed."""


def variants_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the variants: name -> overrides of the configuration."""
    variants = {
        "llmemb": (),
        "no SCFT": ("scft.enabled=false",),
        "no alignment": ("rat.alignment.alpha=0",),
        "no SCFT, no alignment": ("scft.enabled=false", "rat.alignment.alpha=0"),
        "no whitening": ('rat.reduction="pca"',),
        "no residual": ('rat.residual.mode="none"',),
        "no semantic term": ("rat.semantic_term.gamma=0",),
        "no successors": ("rat.successors.delta=0",),
        "no logit adjustment": ("rat.logit_adjustment=0",),
        "adapter of one layer": ("rat.adapter_layers=1",),
        "pooling of the last token": ('encoder.pooling="last"',),
    }
    if isinstance(config.encoder.depth, int) and config.encoder.depth > 1:
        variants["half the depth"] = (f"encoder.depth={config.encoder.depth // 2}",)
    return variants


def ablate(
    config_path: Path, overrides: Sequence[str], seeds: Sequence[int], names: Collection[str], folder: Path
) -> Path:
    """Run variants with every seed up to `evaluate`; write `figures.json` and `table.md`, and return the latter's path.

    A step with the same inputs as in an earlier variant is reused. The baselines come from the variant `llmemb`, which
    always runs.

    Args:
        config_path: the base configuration.
        overrides: overrides for all variants.
        seeds: the seeds, which replace the one in the configuration.
        names: the variants to run; empty: all.
        folder: folder for the run folders, one for each seed and variant.

    Raises:
        ConfigError: there is no variant with a given name.
    """
    variants = variants_of(load_config(config_path, overrides))
    if unknown := set(names) - set(variants):
        raise ConfigError(f"--variants {sorted(unknown)[0]!r}: there are {', '.join(map(repr, variants))}")
    results: dict[str, list[Figures]] = {}
    for seed in seeds:
        done: list[RunFolder] = []
        for variant, changes in variants.items():
            if names and variant not in {*names, LLMEMB}:
                continue
            config = load_config(config_path, [*overrides, *changes, f"seed={seed}"])
            run = RunFolder(folder / f"seed-{seed}" / variant.replace(",", "").replace(" ", "-"))
            say("ablate", f"seed {seed}: {variant}")
            pipeline.train(config, run.path, last=LAST_STEP, shared=done)
            results.setdefault(variant, []).append(read_figures(run.step(LAST_STEP)))
            done.append(run)
    figures = ablation_figures(results)
    written = TypeAdapter(tuple[AblationFigure, ...]).dump_json(figures, indent=2).decode()
    write_text_atomically(folder / "figures.json", written + "\n")
    table = folder / "table.md"
    write_text_atomically(table, make_ablation_tables(figures))
    return table


def ablation_figures(results: Mapping[str, Sequence[Figures]]) -> tuple[AblationFigure, ...]:
    """Return mean and standard deviation over the seeds, for each variant and for the baselines of the first one."""
    first = next(iter(results.values()))
    baselines = dict.fromkeys(figure.model for figure in first[0].figures if figure.model != LLMEMB)
    rows = {variant: (LLMEMB, runs) for variant, runs in results.items()}
    rows |= {model: (model, first) for model in baselines}
    made = []
    for row, (model, runs) in rows.items():
        faulty = sum(model in run.faults for run in runs)
        tables = [{(f.protocol, f.model, f.group, f.metric): f.value for f in run.figures} for run in runs]
        for protocol in PROTOCOLS:
            for group in GROUPS:
                for metric in METRICS:
                    if (protocol, model, group, metric) not in tables[0]:
                        continue
                    values = tuple(table[protocol, model, group, metric] for table in tables)
                    made.append(
                        AblationFigure(
                            row=row,
                            protocol=protocol,
                            group=group,
                            metric=metric,
                            values=values,
                            mean=statistics.mean(values),
                            deviation=statistics.stdev(values) if len(values) > 1 else None,
                            not_converged=faulty,
                        )
                    )
    return tuple(made)


def make_ablation_tables(figures: Sequence[AblationFigure]) -> str:
    """Return Markdown tables of means and sample standard deviations: full ranking, then the sampled protocol."""
    parts = []
    for protocol in PROTOCOLS:
        chosen = [figure for figure in figures if figure.protocol == protocol]
        columns = list(dict.fromkeys((figure.group, figure.metric) for figure in chosen))
        cells = {(figure.row, figure.group, figure.metric): figure for figure in chosen}
        lines = [
            f"### {_TITLES[protocol]}; seeds: {len(chosen[0].values)}, mean ± standard deviation",
            "",
            "| | " + " | ".join(f"{group} {metric.upper()}" for group, metric in columns) + " |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for row, faulty in dict.fromkeys((figure.row, figure.not_converged) for figure in chosen):
            shown = " | ".join(_cell(cells[row, group, metric]) for group, metric in columns)
            mark = f" ({faulty} of {len(chosen[0].values)} not converged)" if faulty else ""
            lines.append(f"| {row}{mark} | {shown} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(figure: AblationFigure) -> str:
    return f"{figure.mean:.4f}" + ("" if figure.deviation is None else f" ± {figure.deviation:.4f}")
