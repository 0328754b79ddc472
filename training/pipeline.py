"""The offline line: prepare -> scft -> embed -> rat -> evaluate -> bundle, each step skipped, resumed or run."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from llmemb import __version__
from llmemb.errors import RunError
from llmemb.files import sha256_of_file, write_text_atomically
from training.config import Config, dump_config
from training.progress import say
from training.run_folder import RunFolder, fingerprint_of
from training.sources import source_files


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the line.

    Args:
        sections: its parts of the configuration, such as `scft` or `rat.model`.
        inputs: the steps whose folders it reads.
        run: does the work and returns the summary line.
    """

    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    run: Callable[[Config, RunFolder], str]


def _prepare(config: Config, run: RunFolder) -> str:
    from training.steps import prepare

    return prepare.run(config.prepare, config.seed, run.step("prepare"))


def _scft(config: Config, run: RunFolder) -> str:
    from training.steps import scft

    return scft.run(config.scft, config.encoder, config.seed, run.step("prepare"), run.step("scft"), run.logs / "scft")


def _embed(config: Config, run: RunFolder) -> str:
    from training.steps import embed

    return embed.run(config.embed, config.encoder, run.step("prepare"), encoder_folder(run), run.step("embed"))


def _vanilla(config: Config, run: RunFolder) -> str:
    from training.steps import vanilla

    return vanilla.run(config.rat, config.seed, run.step("prepare"), run.step("vanilla"), run.logs / "vanilla")


def _rat(config: Config, run: RunFolder) -> str:
    from training.raw_embeddings import read_raw_embeddings
    from training.steps import rat

    return rat.run(
        config.rat,
        config.seed,
        run.step("prepare"),
        read_raw_embeddings(run.step("embed")),
        run.step("vanilla"),
        run.step("rat"),
        run.logs / "rat",
    )


def _evaluate(config: Config, run: RunFolder) -> str:
    from training.raw_embeddings import read_raw_embeddings
    from training.steps import evaluate

    return evaluate.run(
        config.evaluate,
        config.rat,
        config.seed,
        run.step("prepare"),
        read_raw_embeddings(run.step("embed")),
        run.step("rat"),
        run.step("vanilla"),
        run.step("evaluate"),
    )


def _bundle(config: Config, run: RunFolder) -> str:
    from training.steps import bundle

    return bundle.run(
        config, run.step("prepare"), encoder_folder(run), run.step("rat"), run.step("evaluate"), run.step("bundle")
    )


# Not the whole of `rat`: what only the adapted recommender reads need not train the vanilla one again.
_VANILLA_SECTIONS = tuple(
    f"rat.{name}" for name in ("model", "loss", "mask_share", "batch_size", "learning_rate", "max_epochs", "patience")
)

STEPS: dict[str, Step] = {
    "prepare": Step(("prepare",), (), _prepare),
    "scft": Step(("encoder", "scft"), ("prepare",), _scft),
    "embed": Step(("encoder", "embed"), ("prepare", "scft"), _embed),
    "vanilla": Step(_VANILLA_SECTIONS, ("prepare",), _vanilla),
    "rat": Step(("rat",), ("prepare", "embed", "vanilla"), _rat),
    "evaluate": Step(("rat", "evaluate"), ("prepare", "embed", "vanilla", "rat"), _evaluate),
    "bundle": Step(("encoder", "rat"), ("prepare", "scft", "rat", "evaluate"), _bundle),
}

VERBS = {name: (name,) for name in STEPS if name != "vanilla"} | {"rat": ("vanilla", "rat")}
"""The command's verbs and the steps they run."""


def encoder_folder(run: RunFolder) -> Path:
    """Return the folder of the tuned encoder."""
    return run.step("scft") / "encoder"


def train(config: Config, folder: Path, last: str = "bundle", shared: Sequence[RunFolder] = ()) -> None:
    """Run every step that is not up to date.

    Args:
        config: the run's configuration.
        folder: the run folder.
        last: the step after which to stop.
        shared: other run folders; a step that is done there by the same inputs is taken over.
    """
    run = RunFolder(folder)
    with run.locked():
        _write_config(config, folder)
        fingerprints = step_fingerprints(config)
        for name in STEPS:
            for other in shared:
                run.adopt(name, fingerprints[name], other)
            _run_step(name, config, run, fingerprints)
            if name == last:
                break


def run_verb(verb: str, config: Config, folder: Path) -> None:
    """Run the steps of one verb that are not up to date.

    Raises:
        RunError: a step before it is not up to date.
    """
    run = RunFolder(folder)
    with run.locked():
        _write_config(config, folder)
        fingerprints = step_fingerprints(config)
        for name in VERBS[verb]:
            for needed in STEPS[name].inputs:
                if not run.is_done(needed, fingerprints[needed]):
                    raise RunError(f"{folder}: {needed} is not up to date; run its verb or `llmemb train` first")
            _run_step(name, config, run, fingerprints)


def step_fingerprints(config: Config) -> dict[str, str]:
    """Return each step's fingerprint: the same exactly when it would do the same work on the same input."""
    _, interactions, items = source_files(Path(config.prepare.path), config.prepare.format)
    outside: dict[str, list[str]] = {
        "prepare": [sha256_of_file(interactions), sha256_of_file(items)],
        "scft": [_describe_llm(Path(config.encoder.base))],
    }
    dumped = dump_config(config)
    fingerprints: dict[str, str] = {}
    for name, step in STEPS.items():
        part: dict[str, JsonValue] = {"seed": config.seed, "version": __version__}
        part |= {section: _section(dumped, section) for section in step.sections}
        inputs = [fingerprints[needed] for needed in step.inputs]
        fingerprints[name] = fingerprint_of(name, part, inputs + outside.get(name, []))
    return fingerprints


def _run_step(name: str, config: Config, run: RunFolder, fingerprints: dict[str, str]) -> None:
    fingerprint = fingerprints[name]
    if run.is_done(name, fingerprint):
        record = run.record(name)
        say(name, f"up to date: {record.summary if record else ''}")
        return
    if run.begin(name, fingerprint):
        say(name, "going on where it was cut off")
    start = time.monotonic()
    summary = STEPS[name].run(config, run)
    seconds = time.monotonic() - start
    run.finish(name, fingerprint, seconds, summary)
    say(name, f"{summary} ({seconds:.1f} s)")


def _section(dumped: JsonValue, path: str) -> JsonValue:
    for name in path.split("."):
        assert isinstance(dumped, dict)
        dumped = dumped[name]
    return dumped


def _describe_llm(base: Path) -> str:
    """Identify a local LLM by its content; a Hugging Face id by its name, which the configuration holds already."""
    if base.is_file():
        return sha256_of_file(base)
    files = sorted(path for path in base.rglob("*") if path.is_file()) if base.is_dir() else []
    listing = [f"{path.relative_to(base)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(listing).encode()).hexdigest()


def _write_config(config: Config, folder: Path) -> None:
    write_text_atomically(folder / "config.json", config.model_dump_json(indent=2) + "\n")
