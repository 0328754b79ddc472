"""The gateway without Docker: a real HAProxy with our configuration, and addresses where that has names."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import pytest

from tests.observe.watched import REPOSITORY
from tests.support.ports import free_port
from tests.support.waiting import wait_until

CONFIG = REPOSITORY / "docker" / "gateway" / "haproxy.cfg"


def haproxy_program() -> str:
    """Find HAProxy; a test that needs it is skipped without it."""
    found = shutil.which("haproxy")
    if found is None:
        pytest.skip("no haproxy: apt-get install haproxy (2 MB to fetch)")
    return found


class Gateway:
    """HAProxy on free ports, before some replicas.

    Args:
        folder: for its configuration.
        replicas: their addresses, `host:port`.
        variables: of its configuration.
    """

    def __init__(self, folder: Path, replicas: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self._program = haproxy_program()
        self._environment = os.environ | (variables or {})
        ports = {name: free_port() for name in ("8080", "8081", "8405")}
        self.url = f"http://127.0.0.1:{ports['8080']}"
        self.metrics = f"127.0.0.1:{ports['8405']}"
        text = CONFIG.read_text(encoding="utf-8")
        for name, port in ports.items():
            text = text.replace(f"bind :{name}", f"bind 127.0.0.1:{port}")
        servers = "\n    ".join(f"server replica{number} {address}" for number, address in enumerate(replicas))
        text = re.sub(r"server-template \S+ \S+ \S+", servers, text)
        text = re.sub(r"resolvers docker init-addr \S+", "", text).replace("grafana:3000", "127.0.0.1:1")
        # What it logs, whom it lets control it and what it remembers is nothing to a test.
        text = re.sub(r"^ *(stats socket|log|server-state-file|load-server-state-from-file) .*$", "", text, flags=re.M)
        self._config = folder / "haproxy.cfg"
        self._config.write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        command = [self._program, "-db", "-f", str(self._config)]
        self._process = subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: bool(self.exposition()) or self._process.poll() is not None, "HAProxy answers")
        assert self._process.poll() is None, "HAProxy does not take its configuration"
        return self

    def exposition(self) -> str:
        """What its exporter says; nothing while it does not answer."""
        try:
            return httpx2.get(f"http://{self.metrics}/metrics").text
        except httpx2.TransportError:
            return ""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
