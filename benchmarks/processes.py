"""Server processes for benchmarks, on free local ports."""

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
    """Run `llmemb serve` with fresh state; yield URL and process id, possibly before the encoder has started."""
    with tempfile.TemporaryDirectory() as state:
        own = {"LLMEMB_STATE_DIR": state, "LLMEMB_LOG_LEVEL": "warning"} | dict(variables or {})
        with announced_server(serve_command(bundle), _own_environment(own)) as served:
            yield served


@contextmanager
def serving(bundle: Path, variables: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Serve a bundle and wait for its encoder, whose start would otherwise disturb the measurement."""
    with starting(bundle, variables) as (url, pid):
        wait_for_answer(f"{url}/readyz")
        yield url, pid


def wait_for_answer(url: str) -> None:
    """Wait until a GET request is answered with 200.

    Raises:
        TimeoutError: it was not within `READY_SECONDS`.
    """
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(url, timeout=10):
            return
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer with 200 within {READY_SECONDS:g} s")


@contextmanager
def constant_route() -> Iterator[str]:
    """Serve `benchmarks.constant_app`; yield its URL."""
    with announced_server([sys.executable, "-m", "benchmarks.constant_app"], _own_environment({})) as (url, _):
        yield url


def _own_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without service settings, plus these variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")} | dict(variables)
