"""The service under test: an app with a real bundle, called in this process, over a socket, or as `llmemb serve`."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

DEADLINE_SECONDS = 60
"""How long a test waits for what must happen: long, since it only passes when the test fails."""

HEAT = {"title": "Heat", "release_year": 1995, "genres": ["Action", "Crime"]}


def make_settings(bundle: Path, state_dir: Path, **overrides: Any) -> Settings:
    """Make settings that the environment has no part in, but for what `overrides` leave open."""
    return Settings(bundle=bundle, state_dir=state_dir, **overrides)


@contextmanager
def running(settings: Settings) -> Iterator[TestClient]:
    """Run an app in this process, its whole lifespan included."""
    with TestClient(create_app(settings)) as client:
        yield client


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[FastAPI, str]]:
    """Run an app in a thread, on a real socket; yields the app and its URL."""
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the server starts")
            yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail with `what` when it does not come about."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s in vain: {what}"
        time.sleep(0.01)


class ServeProcess:
    """`llmemb serve` as a process of its own, on a free port."""

    def __init__(self, bundle: Path, state_dir: Path, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
        environment |= {"LLMEMB_STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        self._command = [sys.executable, "-m", "llmemb", "serve", "--bundle", str(bundle), "--port", "0"]
        self._environment = environment | variables
        self._output: list[str] = []
        self.url = ""

    def __enter__(self) -> Self:
        """Start it and wait until it says where it serves."""
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_until(lambda: bool(self.url) or self.process.poll() is not None, f"a URL in:\n{self.output}")
        assert self.url, self.output
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output.append(line)
            if line.startswith("serving on "):
                self.url = line.split()[2]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._output)

    def post(self, path: str, body: Any) -> httpx2.Response:
        """Send JSON."""
        return httpx2.post(f"{self.url}{path}", json=body, timeout=DEADLINE_SECONDS)

    def end(self, number: signal.Signals) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
