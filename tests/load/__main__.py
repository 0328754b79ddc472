"""Put load on a service of this machine, and fail if a threshold of the configuration is exceeded.

    python -m tests.load mixed --bundle BUNDLE --out FOLDER [--url http://127.0.0.1:8000] [--seconds 600]
    python -m tests.load open ...
    python -m tests.load overload --work recommend|embed_items ...

`mixed` is Locust with people who wait for their answers, `open` a constant rate of requests, `overload` more than the
service can hold. Without `--url` the bundle is served on a free port during the run. `report.md` and `report.json` are
written into the folder; the exit code is 1 if a threshold was exceeded.
"""

import argparse
import math
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import get_args

import uvloop

from llmemb.client import Client, ClientError
from tests.load.config import RUN_VARIABLE, LoadConfig, Overloaded, RunSpec, read_config
from tests.load.figures import breaches
from tests.load.population import Population, read_population
from tests.load.report import REPORT_JSON, REPORT_MARKDOWN, SECTIONS, Kind, Phase, Report, Stamps, write_report
from tests.load.scheduled import constant_rate_run, overload_breaches, overload_run
from tests.load.target import TargetRefusedError, check_target, local_service, wait_until_ready

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_STOP_SECONDS = 60
"""For requests in flight, and for shops to remove their items, after a mixed run."""
_UNUSABLE = 2
NOTES = (
    "Latencies count from the time that a request was due, except those of the capacity, which is a closed loop; "
    "p99 from sending leaves out how late the load itself was.",
    "dropped: as many were in flight as allowed; missed: the load lacked the processor time to send them.",
    "Latencies are of good answers. The load uses cores of the same machine.",
    "An overload's latencies are those of the same few requests in each phase; the flood has a process of its own.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code.

    Args:
        arguments: of the command line; None: those of the process.
    """
    options = _options(arguments)
    try:
        with ExitStack() as services:
            url = options.url
            if url is None:
                url = services.enter_context(local_service(options.bundle, options.out / "service.log"))
            run, population = _prepare(options, check_target(url))
            code = _mixed(run) if options.kind == "mixed" else _scheduled(run, population, options)
            sys.stdout.write(f"\n{(run.out / REPORT_MARKDOWN).read_text(encoding='utf-8')}")
            return code
    except (TargetRefusedError, ClientError, OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=tuple(SECTIONS))
    for name, kind, text in (
        ("bundle", Path, "folder of the bundle that the service has"),
        ("out", Path, "folder for the report"),
        ("url", str, "of the service; without it the bundle is served during the run"),
        ("api-key-file", Path, "file with the key for the service"),
    ):
        variable = f"LOAD_{name.replace('-', '_').upper()}"
        # An empty one counts as unset: compose passes those that are not set.
        default = os.environ.get(variable) or None
        needed = name in {"bundle", "out"} and default is None
        parser.add_argument(f"--{name}", type=kind, default=default, required=needed, help=f"{text}; or {variable}")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("load.toml"))
    parser.add_argument("--seconds", type=float, help="of the run, instead of the configuration's")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--work", choices=get_args(Overloaded), default="recommend", help="what an overload sends")
    return parser.parse_args(arguments)


def _prepare(options: argparse.Namespace, url: str) -> tuple[RunSpec, Population]:
    population = read_population(options.bundle)
    run = RunSpec(
        url=url,
        bundle=options.bundle.resolve(),
        bundle_id=population.bundle_id,
        out=options.out.resolve(),
        config=_with_seconds(read_config(options.config), options.kind, options.seconds),
        seed=options.seed,
        name=secrets.token_hex(4),
        api_key_file=options.api_key_file,
    )
    with Client(url, api_key=run.api_key) as client:
        bundle_id = wait_until_ready(client, population.word(Random(run.seed)))
    if bundle_id != population.bundle_id:
        raise ValueError(f"{url} serves the bundle {bundle_id}, {options.bundle} is {population.bundle_id}")
    run.out.mkdir(parents=True, exist_ok=True)
    for name in (REPORT_JSON, REPORT_MARKDOWN):  # of an earlier run
        (run.out / name).unlink(missing_ok=True)
    return run, population


def _with_seconds(config: LoadConfig, kind: Kind, seconds: float | None) -> LoadConfig:
    if seconds is None:
        return config
    members = config.model_dump()
    members[SECTIONS[kind]]["seconds"] = seconds
    return LoadConfig.model_validate(members)


def _mixed(run: RunSpec) -> int:
    spec = run.out / "run.json"
    spec.write_text(run.model_dump_json(), encoding="utf-8")
    mixed = run.config.mixed
    # A process of its own: Locust patches the sockets and threads of the process that imports it.
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--only-summary"),
        *("--users", str(mixed.shoppers + mixed.shops + mixed.embedders)),
        *("--spawn-rate", str(mixed.begin_per_second), "--run-time", f"{math.ceil(mixed.seconds)}s"),
        *("--stop-timeout", str(_STOP_SECONDS)),
    ]
    with subprocess.Popen(command, env=os.environ | {RUN_VARIABLE: str(spec)}) as process:
        # On SIGTERM Locust lets people clean up and reports; Ctrl-C in a terminal reaches it by itself.
        signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return process.wait()


def _scheduled(run: RunSpec, population: Population, options: argparse.Namespace) -> int:
    begun = Stamps.begun(run.bundle_id, run.seed, ("httptools", "uvloop"))
    if options.kind == "open":
        phases = uvloop.run(constant_rate_run(run, population))
        found = _open_breaches(phases, run.config)
    else:
        phases = uvloop.run(overload_run(run, population, options.work))
        found = overload_breaches(phases, run.config.overload)
    report = Report(
        kind=options.kind, stamps=begun.ended(), config=run.config, phases=phases, breaches=tuple(found), notes=NOTES
    )
    write_report(report, run.out)
    return 1 if found else 0


def _open_breaches(phases: Sequence[Phase], config: LoadConfig) -> list[str]:
    found = []
    for phase in phases:
        if phase.dropped + phase.missed:
            found.append(f"{phase.dropped:,} requests were dropped and {phase.missed:,} missed")
        asked = {route: p99 for route, p99 in config.thresholds.p99_ms.items() if route in phase.figures.routes}
        found += breaches(phase.figures, config.thresholds.model_copy(update={"p99_ms": asked}))
    return found


if __name__ == "__main__":
    sys.exit(main())
