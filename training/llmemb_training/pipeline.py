"""The training pipeline, from `prepare` to `bundle`: each step is skipped, resumed or run."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from llmemb import __version__
from llmemb.errors import RunError
from llmemb.files import sha256_of_file, write_text_atomically
from llmemb_training.config import Config, dump_config
from llmemb_training.preflight import check_base, check_dataset, check_encoder, check_ray
from llmemb_training.rat.selection import open_options, read_selections, with_choices
from llmemb_training.runs.progress import bar, say, watching
from llmemb_training.runs.run_folder import RunFolder, fingerprint_of
from llmemb_training.sources import source_files
from llmemb_training.step_table import ASIDE, STEPS, VERBS, VERBS_ASIDE, encoder_folder

_AFTER_PREPARE, _AFTER_SELECT = "select", "scft"
_STEPS = STEPS | ASIDE


def train(config: Config, folder: Path, last: str = "bundle", shared: Sequence[RunFolder] = ()) -> None:
    """Run every step that is not up to date.

    Args:
        config: the run's configuration.
        folder: the run folder.
        last: the step after which to stop.
        shared: other run folders; a step that is complete there with the same inputs is reused.
    """
    run = RunFolder(folder)
    with run.locked(), watching():
        _write_config(config, folder)
        described = describe_inputs(config)
        _check_encoder(config, run, described)
        given = config
        for name in STEPS:
            if name == _AFTER_PREPARE:
                _check_dataset(config, run, described)
            if name == _AFTER_SELECT:
                config = resolved(config, run)
            fingerprints = step_fingerprints(config, described, given)
            for other in shared:
                run.adopt(name, fingerprints[name], other)
            _run_step(name, config, run, fingerprints)
            if name == last:
                break


def run_verb(verb: str, config: Config, folder: Path) -> None:
    """Run the steps of one verb that are not up to date.

    Raises:
        RunError: an earlier step is not up to date.
    """
    run, names = RunFolder(folder), (VERBS | VERBS_ASIDE)[verb]
    with run.locked(), watching():
        _write_config(config, folder)
        described = describe_inputs(config)
        if verb != "prepare":
            _check_encoder(config, run, described)
        given, fingerprints = config, step_fingerprints(config, described)
        if verb not in ("prepare", "select") and open_options(config):
            _require("select", run, fingerprints)
            config = resolved(config, run)
            fingerprints = step_fingerprints(config, described, given)
        for name in names:
            for needed in _STEPS[name].inputs:
                if needed not in names:
                    _require(needed, run, fingerprints)
        if verb != "prepare":
            _check_dataset(given, run, described)
        for name in names:
            _run_step(name, config, run, fingerprints)


def step_fingerprints(
    config: Config, described: Mapping[str, Sequence[str]] | None = None, given: Config | None = None
) -> dict[str, str]:
    """Return each step's fingerprint, which is the same if and only if the step does the same work on the same input.

    Args:
        config: the configuration with the choices of `select`, if any: a step depends on the choices only.
        described: content of each step's inputs from outside the run folder; None: read it now.
        given: the configuration that `select` reads, without choices; None: `config`.
    """
    given = config if given is None else given
    described = describe_inputs(given) if described is None else described
    fingerprints: dict[str, str] = {}
    for name, step in _STEPS.items():
        part: dict[str, JsonValue] = {"seed": config.seed, "version": __version__}
        read = given if name == "select" else config
        if name != "select" or open_options(given):
            part |= {section: _section(dump_config(read), section) for section in step.sections}
        inputs = [fingerprints[needed] for needed in step.inputs]
        fingerprints[name] = fingerprint_of(name, part, [*inputs, *described.get(name, [])])
    return fingerprints


def describe_inputs(config: Config) -> dict[str, list[str]]:
    """Return a description of the content of each step's inputs from outside the run folder.

    Raises:
        DataError: the source in the configuration does not exist.
    """
    _, interactions, items = source_files(Path(config.prepare.path), config.prepare.format)
    llm = _describe_llm(Path(config.encoder.base))
    return {
        "prepare": [sha256_of_file(path) for path in (*interactions, items)],
        "select": [llm] if open_options(config) else [],
        "scft": [llm],
    }


def _check_encoder(config: Config, run: RunFolder, described: Mapping[str, Sequence[str]]) -> None:
    """Check the configuration against the LLM: against the tuned encoder if it exists, since the base may be gone."""
    done = _done(config, run, described)
    if "embed" not in done:
        check_ray(config)
    if not done.issuperset(("select", "scft")):
        check_base(config)
    elif "rat" not in done:
        check_encoder(resolved(config, run), encoder_folder(run))


def _check_dataset(config: Config, run: RunFolder, described: Mapping[str, Sequence[str]]) -> None:
    if "evaluate" not in _done(config, run, described):
        check_dataset(config, run.step("prepare"))


def _done(config: Config, run: RunFolder, described: Mapping[str, Sequence[str]]) -> set[str]:
    fingerprints = step_fingerprints(resolved(config, run), described, config)
    return {name for name in STEPS if run.is_done(name, fingerprints[name])}


def resolved(config: Config, run: RunFolder) -> Config:
    """Return the configuration with the choices of `select`."""
    chosen = {selection.option: selection.chosen for selection in read_selections(run.step("select"))}
    return with_choices(config, chosen)


def _require(name: str, run: RunFolder, fingerprints: Mapping[str, str]) -> None:
    if not run.is_done(name, fingerprints[name]):
        raise RunError(f"{run.path}: {name} is not up to date; run its verb or `llmemb train` first")


def _run_step(name: str, config: Config, run: RunFolder, fingerprints: dict[str, str]) -> None:
    run_step(name, run, fingerprints[name], lambda: _STEPS[name].run(config, run))


def run_step(name: str, run: RunFolder, fingerprint: str, work: Callable[[], str]) -> None:
    """Run one step and record it, unless it is up to date.

    Args:
        name: name of the step and of its folder.
        run: the run folder, locked by the caller.
        fingerprint: fingerprint of everything that the step depends on.
        work: writes the step's folder and returns the summary line.
    """
    why = run.why_not_done(name, fingerprint)
    if why is None:
        record = run.record(name)
        say(name, f"up to date: {record.summary if record else ''}")
        return
    if why:
        say(name, why)
    run.begin(name, fingerprint)
    start = time.monotonic()
    with bar(name):
        summary = work()
    seconds = time.monotonic() - start
    run.finish(name, fingerprint, seconds, summary)
    say(name, f"{summary} ({seconds:.1f} s)")


def _section(dumped: JsonValue, path: str) -> JsonValue:
    for name in path.split("."):
        assert isinstance(dumped, dict)
        dumped = dumped[name]
    return dumped


def _describe_llm(base: Path) -> str:
    """Return a hash that identifies a local LLM by its files; a Hugging Face id is already in the configuration."""
    if base.is_file():
        return sha256_of_file(base)
    files = sorted(path for path in base.rglob("*") if path.is_file()) if base.is_dir() else []
    listing = [f"{path.relative_to(base)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(listing).encode()).hexdigest()


def _write_config(config: Config, folder: Path) -> None:
    write_text_atomically(folder / "config.json", config.model_dump_json(indent=2) + "\n")
