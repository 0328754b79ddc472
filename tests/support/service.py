"""The service under test: an app with a real bundle, called in this process, over a socket, or as `llmemb serve`."""

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from llmemb.bundle import MANIFEST_FILE
from llmemb_service.app import create_app
from llmemb_service.settings import Settings
from tests.support.tiny import write_tiny_bundle, write_tiny_llm
from tests.support.waiting import DEADLINE_SECONDS, wait_for_encoder, wait_until

HEAT = {"title": "Heat", "release_year": 1995, "genres": ["Action", "Crime"]}


def make_settings(bundle: Path, state_dir: Path, **overrides: Any) -> Settings:
    """Make settings that the environment has no part in, but for what `overrides` leave open.

    A tiny bundle's texts are embedded by one service that all tests share, since an encoder's process takes seconds to
    start; `encoder_url=None` gives the app one of its own.
    """
    if "encoder_url" not in overrides and _has_tiny_encoder(bundle):
        overrides["encoder_url"] = shared_encoder_url()
    overrides.setdefault("encoder_nice", 10)  # see `ServeProcess`
    return Settings(bundle=bundle, state_dir=state_dir, **overrides)


def _has_tiny_encoder(bundle: Path) -> bool:
    manifest = bundle / MANIFEST_FILE
    return manifest.is_file() and json.loads(manifest.read_bytes())["encoder"]["base"] == "tiny"


@functools.cache
def shared_encoder_url() -> str:
    """Start a service that embeds for all tests of this process, and end it with them."""
    folder = Path(tempfile.mkdtemp())
    service = ServeProcess(write_tiny_bundle(folder / "bundle", write_tiny_llm(folder / "llm")), folder / "state")
    service.__enter__()

    def end() -> None:
        service.__exit__(None, None, None)
        shutil.rmtree(folder)

    atexit.register(end)
    return f"{service.url}/v1"


@contextmanager
def running(settings: Settings) -> Iterator[TestClient]:
    """Run an app in this process, its whole lifespan included; its encoder has started."""
    app = create_app(settings)
    with TestClient(app) as client:
        wait_until(lambda: app.state.runtime.versions.started.done(), "the encoder starts")
        yield client


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[FastAPI, str]]:
    """Run an app in a thread, on a real socket, its encoder started; yields the app and its URL."""
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the server starts")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            if server.started:
                wait_for_encoder(url)
            yield app, url
        finally:
            server.should_exit = True
            thread.join()


class ServeProcess:
    """`llmemb serve` as a process of its own, on a free port unless one is given."""

    def __init__(
        self,
        bundle: Path,
        state_dir: Path,
        *,
        port: int = 0,
        program: Sequence[str] = (sys.executable, "-m", "llmemb"),
        **variables: str,
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
        environment |= {"LLMEMB_STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        # The tests keep every core busy, and in the idle class, the default, an encoder would get next to nothing.
        environment |= {"LLMEMB_ENCODER_NICE": "10"}
        self._command = [*program, "serve", "--bundle", str(bundle), "--port", str(port)]
        self._environment = environment | variables
        self._output: list[str] = []
        self.url = ""

    def __enter__(self) -> Self:
        """Start it and wait until it serves, its encoder too."""
        self.process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # A daemon: the interpreter waits for other threads before it runs what `atexit` was given.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: bool(self.url) or self.process.poll() is not None, f"a URL in:\n{self.output}")
        assert self.url, self.output
        wait_for_encoder(self.url)
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
