"""Summary of a run folder: configuration, progress, metrics and bundle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from llmemb.bundle import MANIFEST_FILE
from llmemb.bundle.read import read_manifest
from llmemb.errors import BundleError, RunError
from llmemb_training.evaluation.figures import Figures, Protocol, read_figures
from llmemb_training.runs.run_folder import RECORDS, RunFolder
from llmemb_training.step_table import STEPS

CONFIG_FILE = "config.json"
MAX_DEPTH = 4
"""Maximum depth of the search for runs; an example of a deep one is `runs/NAME-ablation/seed-42/VARIANT`."""

_CONTENT = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The state of a run, which may be incomplete."""

    path: Path
    options: Mapping[str, JsonValue]
    """The configuration, flat: `rat.model.name` -> its value."""
    seconds: Mapping[str, float]
    """Completed steps -> their duration in seconds."""
    running: str | None
    """The step that has started but not completed."""
    changed: datetime | None
    """When a step last started or completed, UTC; None if none has started."""
    figures: Figures | None
    bundle_id: str | None

    @property
    def data(self) -> str:
        """The name of the source's folder."""
        return Path(str(self.options.get("prepare.path", ""))).name

    @property
    def llm(self) -> str:
        """The name of the LLM."""
        return Path(str(self.options.get("encoder.base", ""))).name

    @property
    def sequence_model(self) -> str:
        """The name of the sequence model."""
        return str(self.options.get("rat.model.name", ""))

    @property
    def progress(self) -> str:
        """The progress, such as `10 of 10 steps`."""
        where = "" if self.running is None else f", running or interrupted in {self.running}"
        return f"{len(self.seconds)} of {len(STEPS)} steps{where}"

    def models(self) -> list[str]:
        """Return the evaluated models, `llmemb` first."""
        return [] if self.figures is None else list(dict.fromkeys(figure.model for figure in self.figures.figures))

    @property
    def faults(self) -> dict[str, str]:
        """Models that did not converge -> the reason."""
        return {} if self.figures is None else self.figures.faults

    def figure(self, model: str, group: str, metric: str, protocol: Protocol = "full") -> float | None:
        """Return the value of one metric, or None."""
        wanted = (model, protocol, group, metric)
        figures = () if self.figures is None else self.figures.figures
        return next((f.value for f in figures if (f.model, f.protocol, f.group, f.metric) == wanted), None)


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders at and below a folder, sorted by name; does not search inside runs.

    Raises:
        RunError: there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such folder")
    return list(_find(folder, MAX_DEPTH))


def _find(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / CONFIG_FILE).is_file() and (folder / RECORDS).is_dir():
        yield folder
    elif depth:
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _find(path, depth - 1)


def read_run(folder: Path) -> RunSummary:
    """Read the summary of a run folder; parts that do not exist yet are None or empty.

    The configuration may come from another version of the trainer.

    Raises:
        RunError: the folder is not a run folder.
    """
    try:
        content = _CONTENT.validate_json((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{folder}: not a run folder: {CONFIG_FILE} is missing or is not valid JSON") from error
    run = RunFolder(folder)
    records = {name: record for name in STEPS if (record := run.record(name)) is not None}
    times = [(folder / RECORDS / f"{name}.json").stat().st_mtime for name in records]
    return RunSummary(
        path=folder,
        options=dict(_flat(content)),
        seconds={name: record.seconds for name, record in records.items() if record.status == "done"},
        running=next((name for name, record in records.items() if record.status == "running"), None),
        changed=datetime.fromtimestamp(max(times), UTC) if times else None,
        figures=_figures(run),
        bundle_id=_bundle_id(run),
    )


def _figures(run: RunFolder) -> Figures | None:
    try:
        return read_figures(run.step("evaluate"))
    except (OSError, ValidationError):
        return None


def _bundle_id(run: RunFolder) -> str | None:
    folder = run.step("bundle")
    try:
        return read_manifest(folder).id if (folder / MANIFEST_FILE).is_file() else None
    except BundleError:
        return None


def _flat(content: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
