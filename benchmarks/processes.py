"""Servers for a benchmark, each a process of its own on a free port of this machine."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

READY_SECONDS = 180.0


@contextmanager
def starting(bundle: Path, variables: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Serve a bundle by `llmemb serve` with fresh state; gives URL and process id while its encoder still starts."""
    with tempfile.TemporaryDirectory() as state:
        own = {"LLMEMB_STATE_DIR": state, "LLMEMB_LOG_LEVEL": "warning"} | dict(variables or {})
        command = [sys.executable, "-m", "llmemb", "serve", "--bundle", str(bundle), "--port", "0"]
        with _process(command, own) as served:
            yield served


@contextmanager
def serving(bundle: Path, variables: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Serve a bundle whose encoder has started: its start would take the cores from what is measured."""
    with starting(bundle, variables) as (url, pid):
        wait_for_answer(f"{url}/readyz")
        yield url, pid


def wait_for_answer(url: str) -> None:
    """Wait until a GET is answered by 200.

    Raises:
        TimeoutError: it was not, for a long time.
    """
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(url, timeout=10):
            return
        time.sleep(0.2)
    raise TimeoutError(f"{url} is not answered well within {READY_SECONDS:g} s")


@contextmanager
def constant_route() -> Iterator[str]:
    """Serve `benchmarks.constant_app`; gives its URL."""
    with _process([sys.executable, "-m", "benchmarks.constant_app"], {}) as (url, _):
        yield url


@contextmanager
def _process(command: list[str], variables: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
    environment |= variables
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = next(line.split()[2] for line in process.stdout if line.startswith("serving on "))
            yield url, process.pid
        finally:
            process.terminate()
