"""The table of steps: the configuration sections and input steps of each, and its function.

A step's module is imported when the step runs, so that unused libraries are not loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmemb_training.config import Config
from llmemb_training.runs.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the pipeline.

    Args:
        sections: the parts of the configuration that it uses, such as `scft` or `rat.model`.
        inputs: the steps whose folders it reads.
        run: runs the step and returns the summary line.
    """

    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    run: Callable[[Config, RunFolder], str]


def _prepare(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import prepare

    return prepare.run(config.prepare, config.seed, run.step("prepare"))


def _select(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import select

    return select.run(config, run.step("prepare"), run.step("select"), run.logs / "select")


def _scft(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import scft

    return scft.run(config.scft, config.encoder, config.seed, run.step("prepare"), run.step("scft"), run.logs / "scft")


def _embed(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import embed

    return embed.run(config.embed, config.encoder, run.step("prepare"), encoder_folder(run), run.step("embed"))


def _vanilla(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import vanilla

    return vanilla.run(config.rat, config.seed, run.step("prepare"), run.step("vanilla"), run.logs / "vanilla")


def _rat(config: Config, run: RunFolder) -> str:
    from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
    from llmemb_training.steps import rat

    return rat.run(
        config.rat,
        config.select,
        config.seed,
        run.step("prepare"),
        read_raw_embeddings(run.step("embed")),
        run.step("vanilla"),
        run.step("rat"),
        run.logs / "rat",
    )


def _baselines(config: Config, run: RunFolder) -> str:
    from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
    from llmemb_training.steps import baselines

    if not config.evaluate.baselines:
        return "left out by evaluate.baselines"
    return baselines.run(
        config.rat,
        config.seed,
        run.step("prepare"),
        read_raw_embeddings(run.step("embed")),
        run.step("baselines"),
        run.logs / "baselines",
    )


def _evaluate(config: Config, run: RunFolder) -> str:
    from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
    from llmemb_training.steps import evaluate

    return evaluate.run(
        config.evaluate,
        config.rat,
        config.seed,
        evaluate.Folders(run.step("prepare"), run.step("vanilla"), run.step("rat"), run.step("baselines")),
        read_raw_embeddings(run.step("embed")),
        run.step("evaluate"),
    )


def _report(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import report

    names = list(STEPS)
    return report.run(config, run, names[: names.index("report")], run.step("report"))


def _bundle(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import bundle

    return bundle.run(
        config,
        run.step("prepare"),
        run.step("select"),
        encoder_folder(run),
        run.step("rat"),
        run.step("evaluate"),
        run.step("bundle"),
    )


def _retrain(config: Config, run: RunFolder) -> str:
    from llmemb_training.data.dataset import read_dataset, write_dataset
    from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
    from llmemb_training.evaluation.replay import plan_replay, with_first_clicks
    from llmemb_training.steps import rat, vanilla

    dataset = read_dataset(run.step("prepare"))
    # Raises before the training if a replay is not possible.
    clicks, _ = plan_replay(config.replay, config.rat, dataset, config.seed)
    if not config.replay.trained_anew:
        return "left out by replay.trained_anew"
    folder, logs = run.step("retrain"), run.logs / "retrain"
    for name in ("prepare", "vanilla", "rat"):
        (folder / name).mkdir(exist_ok=True)
    write_dataset(folder / "prepare", with_first_clicks(dataset, clicks, config.replay.ks[-1]))
    if config.rat.alignment.alpha:
        vanilla.run(config.rat, config.seed, folder / "prepare", folder / "vanilla", logs / "vanilla")
    return rat.run(
        config.rat,
        config.select,
        config.seed,
        folder / "prepare",
        read_raw_embeddings(run.step("embed")),
        folder / "vanilla" if config.rat.alignment.alpha else run.step("vanilla"),
        folder / "rat",
        logs / "rat",
    )


def _replay(config: Config, run: RunFolder) -> str:
    from llmemb_training.steps import replay

    return replay.run(
        config.replay,
        config.rat,
        config.seed,
        run.step("prepare"),
        run.step("rat"),
        run.step("retrain") / "rat" if config.replay.trained_anew else None,
        run.step("replay"),
        exclude_history=config.evaluate.exclude_history,
    )


# Only the options of `rat` that affect the vanilla recommender, so that other changes do not train it again.
_VANILLA_SECTIONS = tuple(
    f"rat.{name}"
    for name in (
        "model",
        "loss",
        "num_negatives",
        "gbce_t",
        "mask_share",
        "truncated_share",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "max_epochs",
        "patience",
    )
)

# The options of `select` that `rat` uses.
_RAT_CHOICES = tuple(
    f"select.{name}"
    for name in (
        "gamma",
        "gamma_cost",
        "delta",
        "successor_estimator",
        "successor_out_power",
        "successor_in_power",
        "successor_window",
        "new_item_scale",
        "new_item_cost",
        "pseudo_cold_share",
        "pseudo_cold_interactions",
    )
)
_RAT_SECTIONS = ("rat", *_RAT_CHOICES)

STEPS: dict[str, Step] = {
    "prepare": Step(("prepare",), (), _prepare),
    "select": Step(("encoder", "rat", "select"), ("prepare",), _select),
    "scft": Step(("encoder", "scft"), ("prepare",), _scft),
    "embed": Step(("encoder", "embed"), ("prepare", "scft"), _embed),
    "vanilla": Step(_VANILLA_SECTIONS, ("prepare",), _vanilla),
    "rat": Step(_RAT_SECTIONS, ("prepare", "embed", "vanilla"), _rat),
    "baselines": Step((*_VANILLA_SECTIONS, "evaluate.baselines"), ("prepare", "embed"), _baselines),
    "evaluate": Step(("rat", "evaluate"), ("prepare", "embed", "vanilla", "rat", "baselines"), _evaluate),
    "report": Step(("encoder", "rat"), ("prepare", "select", "scft", "embed", "rat", "evaluate"), _report),
    "bundle": Step(("encoder", "rat", "bundle"), ("prepare", "select", "scft", "rat", "evaluate"), _bundle),
}

ASIDE: dict[str, Step] = {
    "retrain": Step(
        (*_RAT_SECTIONS, "replay.ks", "replay.trained_anew"),
        ("prepare", "embed", "vanilla", "rat"),
        _retrain,
    ),
    "replay": Step(("rat", "replay", "evaluate.exclude_history"), ("prepare", "rat", "retrain"), _replay),
}
"""Optional steps: `llmemb train` does not run them, and no other step depends on them."""

_HALVES = {"rat": ("vanilla", "rat"), "evaluate": ("baselines", "evaluate")}

VERBS = {name: _HALVES.get(name, (name,)) for name in STEPS if name not in ("vanilla", "baselines")}
"""Command-line verb -> the steps that it runs."""

VERBS_ASIDE = {"replay": ("retrain", "replay")}
"""Command-line verb -> the optional steps that it runs."""


def encoder_folder(run: RunFolder) -> Path:
    """Return the folder of the tuned encoder."""
    return run.step("scft") / "encoder"
