"""Servers for a benchmark, each a process of its own on a free port of this machine."""

import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.load.target import announced_server, serve_command

READY_SECONDS = 180.0


@contextmanager
def starting(bundle: Path, variables: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Serve a bundle by `llmemb serve` with fresh state; gives URL and process id while its encoder still starts."""
    with tempfile.TemporaryDirectory() as state:
        own = {"LLMEMB_STATE_DIR": state, "LLMEMB_LOG_LEVEL": "warning"} | dict(variables or {})
        with announced_server(serve_command(bundle), _own_environment(own)) as served:
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
    with announced_server([sys.executable, "-m", "benchmarks.constant_app"], _own_environment({})) as (url, _):
        yield url


def _own_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the settings of a service, and with these variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")} | dict(variables)
