"""The load runs as `make load` and the like start them, against one service. Locust runs in its own processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmemb.client import Client
from tests.load.__main__ import main
from tests.load.config import read_config
from tests.load.report import REPORT_JSON, REPORT_MARKDOWN, Report
from tests.load.scheduled import AFTER, CAPACITY, FLOOD, IDLE, MEANWHILE
from tests.support.service import ServeProcess

REPOSITORY = Path(__file__).parents[2]
OURS = Path(__file__).with_name("load.toml")
ROUTES = sorted(read_config(OURS).thresholds.p99_ms)
ASKED_FIRST = "GET /items"
OUTPUT = "output.txt"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Served:
    """A service with its bundle, and runs of Locust against it that have ended."""

    url: str
    bundle: Path
    good: Path
    """Folder of a run with wide thresholds."""
    slow: Path
    """Folder of one that must pass a threshold."""
    codes: dict[Path, int]
    """Exit codes."""


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start a service, and let people use it."""
    folder = tmp_path_factory.mktemp("runs")
    # The encoder as important as the load: at lower priority nothing is left for it where the load takes all cores.
    variables = {"LLMEMB_LOG_LEVEL": "warning", "LLMEMB_ENCODER_NICE": "0"}
    with ServeProcess(tiny_bundle, folder / "state", **variables) as service:
        good, slow = folder / "good", folder / "slow"
        _prepare(good, dict.fromkeys(ROUTES, 60_000.0), requests=400)
        _prepare(slow, {ASKED_FIRST: 0.000_001}, requests=40)
        with _people(service.url, tiny_bundle, good) as first, _people(service.url, tiny_bundle, slow) as second:
            codes = {good: first.wait(TIMEOUT_SECONDS), slow: second.wait(TIMEOUT_SECONDS)}
        yield Served(service.url, tiny_bundle, good, slow, codes)


@contextmanager
def _people(url: str, bundle: Path, out: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a mixed run, and end it, Locust's process too, if it does not end by itself."""
    command = [sys.executable, "-m", "tests.load", "mixed", *_arguments(url, bundle, out)]
    with (
        (out / OUTPUT).open("wb") as output,
        subprocess.Popen(
            command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _arguments(url: str, bundle: Path, out: Path) -> list[str]:
    return ["--url", url, "--bundle", str(bundle), "--out", str(out), "--config", str(out / "load.toml")]


def _prepare(out: Path, p99_ms: dict[str, float], *, requests: int = 1) -> None:
    """Make the folder of a run, with our configuration but for little of everything."""
    sections = read_config(OURS).model_dump()
    # Ended by the number of requests: how far they come in a time says how busy the machine is.
    sections["mixed"] |= {"shoppers": 1, "begin_per_second": 100, "think_seconds": 0.02, "batch_items": 8}
    sections["mixed"] |= {"requests": requests}
    sections["open_loop"] |= {"per_second": 20, "seconds": 2}
    sections["overload"] |= {"factor": 2, "embed_items": 2, "in_flight": 50}
    sections["overload"] |= dict.fromkeys(("capacity_seconds", "idle_seconds", "seconds"), 0.5)
    sections["thresholds"]["p99_ms"] = p99_ms
    lines = []
    for name, members in sections.items():
        tables = {key: value for key, value in members.items() if isinstance(value, dict)}
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in members.items() if key not in tables)]
        for key, table in tables.items():
            lines += [f"[{name}.{key}]", *(f"{json.dumps(entry)} = {value!r}" for entry, value in table.items())]
    out.mkdir()
    (out / "load.toml").write_text("\n".join(lines))


def _report(out: Path) -> Report:
    return Report.model_validate_json((out / REPORT_JSON).read_bytes())


def test_people_ask_for_everything_and_nothing_fails(served: Served) -> None:
    """The typed client works in Locust's patched process; each route is in the report, with its parts."""
    output = (served.good / OUTPUT).read_text()
    assert served.codes[served.good] == 0, output
    report, markdown = _report(served.good), (served.good / REPORT_MARKDOWN).read_text()
    (phase,) = report.phases

    assert report.breaches == ()
    assert sorted(phase.figures.routes) == ROUTES
    assert phase.figures.failures == {}
    for route, figures in phase.figures.routes.items():
        assert figures.ok > 0, route
        assert f"| {route} | {figures.requests:,} |" in markdown
        assert figures.parts_ms["total"].answers == figures.ok
    assert "rank" in phase.figures.routes["POST /recommend"].parts_ms
    assert {"queue", "tokenise", "encode"} <= set(phase.figures.routes["PUT /items/{item_id}"].parts_ms)
    assert markdown in output


def test_passed_threshold_fails_the_run(served: Served) -> None:
    """The exit code says so, and the report which one."""
    (breach,) = _report(served.slow).breaches

    assert served.codes[served.slow] == 1
    assert breach.startswith(f"{ASKED_FIRST}: the p99 is")
    assert breach in (served.slow / REPORT_MARKDOWN).read_text()


def test_runs_leave_nothing_behind(served: Served) -> None:
    """Shops have taken their items away, also those of a burst that the end of the run broke off."""
    with Client(served.url) as client:
        assert client.info().catalogue.added == 0


def test_constant_rate_is_kept(served: Served, tmp_path: Path) -> None:
    """As many were sent as were to come, whatever the service did; or they are counted as not sent."""
    out = tmp_path / "open"
    _prepare(out, dict.fromkeys(ROUTES, 60_000.0))

    code = main(["open", *_arguments(served.url, served.bundle, out)])

    (phase,) = _report(out).phases
    assert phase.figures.requests + phase.dropped + phase.missed == 40
    assert phase.figures.failures == {}
    assert code == (1 if _report(out).breaches else 0)


def test_overload_tells_of_each_phase(served: Served, tmp_path: Path) -> None:
    """Capacity, idle, too much, who asks meanwhile, idle again; and who asks by ids, but for the flood."""
    out = tmp_path / "overload"
    _prepare(out, {})

    code = main(["overload", "--work", "embed_items", *_arguments(served.url, served.bundle, out)])

    report = _report(out)
    phases = {phase.name: phase for phase in report.phases}
    capacity = phases[CAPACITY].figures
    rate = capacity.routes["POST /embed_items"].ok / capacity.seconds
    assert list(phases) == [CAPACITY, IDLE, FLOOD, MEANWHILE, AFTER]
    assert phases[FLOOD].offered_per_second == pytest.approx(2 * rate)
    assert set(phases[FLOOD].figures.routes) == {"POST /embed_items"}
    for name in (IDLE, MEANWHILE, AFTER):
        assert set(phases[name].figures.routes) == {"POST /embed_items", "POST /recommend"}
    assert code == (1 if report.breaches else 0)


@pytest.mark.parametrize("url", ["http://example.com", "http://192.0.2.1:8000"])
def test_another_machine_is_refused(
    url: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is sent there."""
    out = tmp_path / "refused"
    _prepare(out, {})

    assert main(["open", *_arguments(url, tiny_bundle, out)]) == 2
    assert "127.0.0.1" in capsys.readouterr().err
    assert not (out / REPORT_JSON).exists()
