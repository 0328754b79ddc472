"""What a run folder says of itself: its configuration, how far it is, its figures and its bundle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from llmemb.bundle import MANIFEST_FILE
from llmemb.bundle.read import read_manifest
from llmemb.errors import BundleError, RunError
from training.evaluation.figures import Figures, Protocol, read_figures
from training.runs.run_folder import RECORDS, RunFolder
from training.step_table import STEPS

CONFIG_FILE = "config.json"
MAX_DEPTH = 4
"""How far below a folder runs are looked for: `runs/NAME-ablation/seed-42/VARIANT` is one."""

_CONTENT = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run, as far as it has come."""

    path: Path
    options: Mapping[str, JsonValue]
    """The configuration, flat: `rat.model.name` -> its value."""
    seconds: Mapping[str, float]
    """Steps that are done -> how long they took."""
    running: str | None
    """The step that was begun and is not done."""
    changed: datetime | None
    """When a step last began or ended, UTC; None where none has."""
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
        """How far it is, such as `10 of 10 steps`."""
        where = "" if self.running is None else f", in or cut off in {self.running}"
        return f"{len(self.seconds)} of {len(STEPS)} steps{where}"

    def models(self) -> list[str]:
        """Return the models that were evaluated, ours first."""
        return [] if self.figures is None else list(dict.fromkeys(figure.model for figure in self.figures.figures))

    @property
    def faults(self) -> dict[str, str]:
        """Models that did not converge -> why that is said."""
        return {} if self.figures is None else self.figures.faults

    def figure(self, model: str, group: str, metric: str, protocol: Protocol = "full") -> float | None:
        """Return one figure of the evaluation, None where there is none."""
        wanted = (model, protocol, group, metric)
        figures = () if self.figures is None else self.figures.figures
        return next((f.value for f in figures if (f.model, f.protocol, f.group, f.metric) == wanted), None)


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders at and below a folder, by name; inside of a run nothing is looked for.

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
    """Read what a run folder holds; what it does not hold yet is left open.

    The configuration may be that of another version of the trainer.

    Raises:
        RunError: it is no run folder.
    """
    try:
        content = _CONTENT.validate_json((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"{folder}: no run: {CONFIG_FILE} is not there, or is no JSON") from error
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
