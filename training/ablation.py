"""Train a configuration with parts switched off, over several seeds, and set the figures side by side."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmemb.files import write_text_atomically
from training import pipeline
from training.config import load_config
from training.progress import say
from training.report import Figures, read_figures
from training.run_folder import RunFolder

VARIANTS: dict[str, tuple[str, ...]] = {
    "llmemb": (),
    "no SCFT": ("scft.enabled=false",),
    "no alignment": ("rat.alignment.alpha=0",),
    "no SCFT, no alignment": ("scft.enabled=false", "rat.alignment.alpha=0"),
}
BASELINES = ("vanilla", "semantic_knn", "popular")
LAST_STEP = "evaluate"


def ablate(config_path: Path, overrides: Sequence[str], seeds: Sequence[int], folder: Path) -> Path:
    """Run every variant with every seed up to `evaluate`; return the file of the table.

    A step that a variant shares with an earlier one is taken over, not run again.
    """
    results: dict[str, list[Figures]] = {}
    for seed in seeds:
        done: list[RunFolder] = []
        for variant, changes in VARIANTS.items():
            config = load_config(config_path, [*overrides, *changes, f"seed={seed}"])
            run = RunFolder(folder / f"seed-{seed}" / variant.replace(",", "").replace(" ", "-"))
            say("ablate", f"seed {seed}: {variant}")
            pipeline.train(config, run.path, last=LAST_STEP, shared=done)
            results.setdefault(variant, []).append(read_figures(run.step(LAST_STEP)))
            done.append(run)
    table = folder / "table.md"
    write_text_atomically(table, make_ablation_table(results))
    return table


def make_ablation_table(results: Mapping[str, Sequence[Figures]]) -> str:
    """Write Markdown: mean and sample standard deviation over the seeds, full ranking, then the sampled protocol.

    The baselines are those of the first variant; they differ only by the seed.
    """
    rows: dict[str, tuple[str, Sequence[Figures]]] = {variant: ("llmemb", runs) for variant, runs in results.items()}
    first = next(iter(results.values()))
    rows |= {model: (model, first) for model in BASELINES}
    parts = []
    for protocol, title in (
        ("full", "Ranked among all items"),
        ("sampled", "Ranked among 1 positive and sampled negatives"),
    ):
        keys = [
            (figure.group, figure.metric)
            for figure in first[0].figures
            if (figure.protocol, figure.model) == (protocol, "llmemb") and figure.metric.endswith("@10")
        ]
        lines = [
            f"### {title}, {len(first)} seeds, mean ± standard deviation",
            "",
            "| | " + " | ".join(f"{group} {metric.upper()}" for group, metric in keys) + " |",
            "|---" * (len(keys) + 1) + "|",
        ]
        for name, (model, runs) in rows.items():
            cells = []
            for group, metric in keys:
                values = [_value(run, protocol, model, group, metric) for run in runs]
                spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.4f}{spread}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _value(figures: Figures, protocol: str, model: str, group: str, metric: str) -> float:
    wanted = (protocol, model, group, metric)
    return next(f.value for f in figures.figures if (f.protocol, f.model, f.group, f.metric) == wanted)
