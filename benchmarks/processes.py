"""Servers for a benchmark, each a process of its own on a free port of this machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve a bundle by `llmemb serve` with fresh state; gives its URL."""
    with tempfile.TemporaryDirectory() as state:
        variables = {"LLMEMB_STATE_DIR": state, "LLMEMB_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "llmemb", "serve", "--bundle", str(bundle), "--port", "0"]
        with _process(command, variables) as url:
            yield url


@contextmanager
def constant_route() -> Iterator[str]:
    """Serve `benchmarks.constant_app`; gives its URL."""
    with _process([sys.executable, "-m", "benchmarks.constant_app"], {}) as url:
        yield url


@contextmanager
def _process(command: list[str], variables: dict[str, str]) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")} | variables
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[2] for line in process.stdout if line.startswith("serving on "))
        finally:
            process.terminate()
