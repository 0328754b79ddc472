"""`llmemb serve` started many times at the cost of one import: a process that has imported it all forks who serves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.waiting import wait_for_encoder, wait_until

_PARENT = """
import json, os, signal, sys
import llmemb.cli, llmemb_service.app, llmemb_service.cli

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies: the kernel reaps killed children
for line in sys.stdin:
    order = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(order["variables"])
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    llmemb.cli.main(["serve", "--bundle", order["bundle"], "--port", "0"])
    sys.exit(0)
os.killpg(0, signal.SIGKILL)  # stdin is closed: end the whole group, this process too
"""


@dataclass(frozen=True, slots=True)
class ForkedService:
    """A process that serves."""

    pid: int
    url: str
    log: Path

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9, and wait until nothing is left of it."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(self.pid), "the killed process is gone")


class ServiceForks:
    """Starts services, and ends them all with itself.

    Args:
        folder: for their logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0

    def __enter__(self) -> Self:
        """Start the process that forks."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
        # It forks, so it should have no threads: polars starts some that only clean up, nothing else any.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def start(self, bundle: Path, variables: Mapping[str, str]) -> ForkedService:
        """Start a service with these variables on a free port; returns when it serves, its encoder too."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        log = self._folder / f"service-{self._started}.log"
        order = {"bundle": str(bundle), "output": str(log), "variables": dict(variables)}
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        self._started += 1

        def line() -> str:
            lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
            return next((line for line in lines if line.startswith("serving on ") and line.endswith("\n")), "")

        wait_until(lambda: bool(line()) or not psutil.pid_exists(pid), "the service says where it serves")
        assert line(), log.read_text()
        url = line().split()[2]
        wait_for_encoder(url)
        return ForkedService(pid, url, log)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End all of them."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()
