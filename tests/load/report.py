"""The report of a run, as JSON for programs and as Markdown for people."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

import llmemb
from tests.load.config import LoadConfig
from tests.load.figures import PARTS, Figures, RouteFigures

REPORT_JSON = "report.json"
REPORT_MARKDOWN = "report.md"
Kind = Literal["mixed", "open", "overload"]
SECTIONS: dict[Kind, str] = {"mixed": "mixed", "open": "open_loop", "overload": "overload"}
"""Kind of a run -> its section of the configuration."""
_HEAD = (
    *("route", "requests", "a second", "ok", "429", "with Retry-After", "gone", "failed"),
    *("p50 ms", "p90", "p95", "p99", "max", "p99 from sending"),
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Stamps(_Part):
    """Versions, bundle, seed, machine."""

    began: str
    """UTC."""
    bundle_id: str
    """Of the service, when the run began."""
    seed: int
    cores: int
    """Of this machine; the load itself uses them too."""
    load_average: tuple[float, float]
    """Over a minute, when the run began and when it ended."""
    versions: dict[str, str]

    @classmethod
    def begun(cls, bundle_id: str, seed: int, packages: Sequence[str]) -> Self:
        """Return the stamps of a run that begins now, with the versions of some packages."""
        return cls(
            began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            bundle_id=bundle_id,
            seed=seed,
            cores=os.cpu_count() or 1,
            load_average=(_load_average(), 0.0),
            versions={"llmemb": llmemb.__version__, "python": platform.python_version()}
            | {package: importlib.metadata.version(package) for package in packages},
        )

    def ended(self) -> Self:
        """Add the load average at the end of the run."""
        return self.model_copy(update={"load_average": (self.load_average[0], _load_average())})


class Phase(_Part):
    """A part of a run: the whole of a mixed one, or one rate of an overload."""

    name: str
    offered_per_second: float | None = None
    """The rate of the schedule; None in a closed loop."""
    dropped: int = 0
    """Requests that were not sent, since as many were in flight as allowed."""
    missed: int = 0
    """Requests that were not sent, since the load itself was too late for them."""
    late_ms_p99: float | None = None
    """How much later than scheduled the load sent; part of the latencies."""
    figures: Figures


class Report(_Part):
    """The outcome of a run."""

    kind: Kind
    stamps: Stamps
    config: LoadConfig
    phases: tuple[Phase, ...]
    breaches: tuple[str, ...]
    """Thresholds that were exceeded; empty: the run is good."""
    notes: tuple[str, ...]


def write_report(report: Report, folder: Path) -> None:
    """Write both forms into a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_JSON).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / REPORT_MARKDOWN).write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Write the Markdown."""
    stamps = report.stamps
    facts = {
        "Began": f"{stamps.began} UTC",
        "Bundle": stamps.bundle_id,
        "Seed": stamps.seed,
        "Cores": f"{stamps.cores}, shared by the service and the load",
        "Load average": f"{stamps.load_average[0]:g} at the start, {stamps.load_average[1]:g} at the end",
        "Versions": ", ".join(f"{name} {version}" for name, version in stamps.versions.items()),
        "Settings": report.config.model_dump_json(include={SECTIONS[report.kind], "thresholds"}),
    }
    lines = [f"# Load: {report.kind}", ""]
    lines += ["Within all thresholds." if not report.breaches else "Past its thresholds:", ""]
    lines += [*(f"- {breach}" for breach in report.breaches), ""] if report.breaches else []
    for phase in report.phases:
        lines += _phase(phase)
    lines += [*(f"- {note}" for note in report.notes), ""]
    lines += [f"- {name}: {value}." for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _phase(phase: Phase) -> Iterable[str]:
    figures = phase.figures
    yield from (f"## {phase.name}", "")
    sentence = f"{figures.requests:,} requests in {figures.seconds:.1f} s"
    if phase.offered_per_second is not None:
        sentence += (
            f", {phase.offered_per_second:.1f} a second offered, {phase.dropped:,} dropped, {phase.missed:,} missed"
        )
    if phase.late_ms_p99 is not None:
        sentence += f"; sent later than meant: p99 {phase.late_ms_p99:.1f} ms"
    yield from (sentence + ".", "")
    yield from _table(
        _HEAD,
        [[name, *_counts(route, figures.seconds), *_latency(route)] for name, route in figures.routes.items()],
    )
    parts = [[name, *_parts(route)] for name, route in figures.routes.items() if route.parts_ms]
    if parts:
        yield "`Server-Timing`, median / p99 in ms:"
        yield ""
        yield from _table(["route", *PARTS], parts)
    yield from (f"- {number:,} times: {reason}" for reason, number in figures.failures.items())
    if figures.failures:
        yield ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def _counts(route: RouteFigures, seconds: float) -> list[str]:
    counts = (route.ok, route.refused, route.refused_with_retry_after, route.gone, route.failed)
    return [f"{route.requests:,}", f"{route.requests / seconds:.1f}", *(f"{count:,}" for count in counts)]


def _latency(route: RouteFigures) -> list[str]:
    latency = route.latency_ms
    if latency is None or route.p99_from_sending_ms is None:
        return [""] * 6
    values = (latency.p50, latency.p90, latency.p95, latency.p99, latency.max, route.p99_from_sending_ms)
    return [f"{value:.1f}" for value in values]


def _parts(route: RouteFigures) -> list[str]:
    found = (route.parts_ms.get(part) for part in PARTS)
    return ["" if part is None else f"{part.median:.1f} / {part.p99:.1f}" for part in found]


def _load_average() -> float:
    return round(os.getloadavg()[0], 2)
