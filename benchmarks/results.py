"""Results of a benchmark: comparisons with a peer, and the machine, versions and commit."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from llmemb.files import write_text_atomically

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
WORK = REPOSITORY / ".cache" / "bench"
"""Folder for environments, exported data and other working files of benchmarks; not in git."""


class Row(BaseModel):
    """Comparison of one task between us and a peer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    unit: str
    ours: float
    """Median of the rounds."""
    peer: float
    """Median of the rounds."""
    ratio: float
    """Ours divided by the peer's."""
    aim: str | None
    """Target of the ratio, or None."""
    met: bool | None
    ours_rounds: tuple[float, ...]
    peer_rounds: tuple[float, ...]


class Results(BaseModel):
    """A results file, `benchmarks/results/<name>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    measured: str
    """UTC."""
    commit: str
    """Short commit, with a `+` suffix for uncommitted changes."""
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    aim: tuple[Literal["<=", ">="], float] | None = None,
) -> Row:
    """Compare the medians of the rounds.

    Args:
        name: name of the task.
        unit: unit of the values.
        ours: our value in each round, at least one.
        peer: the peer's value in each round.
        aim: target of the ratio.
    """
    mine, theirs = statistics.median(ours), statistics.median(peer)
    ratio = mine / theirs
    met = None
    if aim is not None:
        met = ratio <= aim[1] if aim[0] == "<=" else ratio >= aim[1]
    return Row(
        name=name,
        unit=unit,
        ours=mine,
        peer=theirs,
        ratio=ratio,
        aim=None if aim is None else f"{aim[0]} {aim[1]:g}",
        met=met,
        ours_rounds=tuple(ours),
        peer_rounds=tuple(peer),
    )


def make_results(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    settings: dict[str, str],
    peer_versions: dict[str, str],
    notes: Sequence[str],
) -> Results:
    """Add the machine, the versions and the commit."""
    return Results(
        name=name,
        title=title,
        measured=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        commit=_commit(),
        machine=_machine(),
        versions={"llmemb": importlib.metadata.version("llmemb"), "python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in ("numpy", "torch")}
        | {f"peer: {package}": version for package, version in peer_versions.items()},
        settings=settings,
        notes=tuple(notes),
        rows=tuple(rows),
    )


def write_results(results: Results, folder: Path = RESULTS) -> None:
    """Write `<name>.json` and `<name>.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / f"{results.name}.json", results.model_dump_json(indent=2) + "\n")
    write_text_atomically(folder / f"{results.name}.md", render(results))


def render(results: Results) -> str:
    """Write the Markdown page of the results."""
    lines = [
        f"# {results.title}",
        "",
        f"{results.measured} UTC, commit {results.commit}; median of the rounds, and their range.",
        "",
        *table(results.rows),
    ]
    lines += ["", *(f"- {note}" for note in results.notes), ""]
    for title, facts in (
        ("Machine", results.machine),
        ("Versions", results.versions),
        ("Settings", results.settings),
    ):
        lines.append(f"{title}: " + ", ".join(f"{name} {value}" for name, value in facts.items()) + ".")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def read_all(folder: Path = RESULTS) -> list[Results]:
    """Read the results that have rows of ours and a peer, by name."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [Results.model_validate(content) for content in contents if "rows" in content]


def aims(measured: Sequence[Results]) -> list[str]:
    """Return the rows that have an aim, as lines of a table."""
    return table([row for results in measured for row in results.rows if row.aim is not None])


def table(rows: Sequence[Row]) -> list[str]:
    """Return rows as lines of a Markdown table."""
    met = {True: "yes", False: "no", None: ""}
    return [
        "| work | ours | peer | ratio | aim | met |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {_figure(row.ours, row.ours_rounds, row.unit)} "
            f"| {_figure(row.peer, row.peer_rounds, row.unit)} | {row.ratio:.3g} | {row.aim or ''} | {met[row.met]} |"
            for row in rows
        ),
    ]


def _figure(median: float, rounds: Sequence[float], unit: str) -> str:
    spread = f" ({_number(min(rounds))} to {_number(max(rounds))})" if len(rounds) > 1 else ""
    return f"{_number(median)}{spread} {unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}" if abs(value) < 1 else f"{value:.4g}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # Changed results of earlier benchmarks do not make the code dirty.
        changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _machine() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = _cpu_info("model name") or platform.machine()
    instructions = sorted(
        {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16"} & set(_cpu_info("flags").split())
    )
    return {
        "processor": " ".join([processor, *instructions]),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
    }


def _cpu_info(key: str) -> str:
    """Return a field of the first core in /proc/cpuinfo; empty if it is not available."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
