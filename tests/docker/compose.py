"""The project's docker-compose.yml as a user runs it, under a name and on ports of its own."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port

REPOSITORY = Path(__file__).parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
BUNDLE = REPOSITORY / "runs" / "demo" / "bundle"
OVERLAY = "COMPOSE_OVERLAY"
"""Names a second compose file, for what is special to one machine, such as a builder's network."""
START_SECONDS = 600
"""How long containers may take to become healthy: three replicas import torch together, perhaps on two cores."""


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    """Wait as long as a start may take; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < START_SECONDS, f"waited {START_SECONDS} s in vain: {what}"
        time.sleep(0.2)
    return time.monotonic() - began


class Compose:
    """One deployment, of a bundle or of none; it is removed at the end, its volumes too.

    Args:
        name: of the project.
        bundle: a bundle's folder, copied into the volume of bundles; None leaves the volume empty.
        variables: such as .env has them.
    """

    def __init__(self, name: str, bundle: Path | None, **variables: str) -> None:
        files = [str(COMPOSE_FILE)]
        if overlay := os.environ.get(OVERLAY):
            files.append(overlay)
        self.name = name
        self._bundle = bundle
        self._ports = {"GATEWAY_PORT": str(free_port()), "OPERATORS_PORT": str(free_port())}
        self._environment = os.environ | self._ports | variables
        self._environment |= {
            "COMPOSE_PROJECT_NAME": name,
            "COMPOSE_FILE": os.pathsep.join(files),
            "COMPOSE_PROGRESS": "plain",
            # The project's own .env is somebody's deployment.
            "COMPOSE_DISABLE_ENV_FILE": "1",
            "TAG": "test",
        }
        self.url = f"http://127.0.0.1:{self._ports['GATEWAY_PORT']}"
        self.operators_url = f"http://127.0.0.1:{self._ports['OPERATORS_PORT']}"

    def call(self, *command: str, check: bool = True, timeout: float = START_SECONDS) -> str:
        """Run a program in the repository, with the deployment's variables, and return what it prints."""
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self._environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if check else f"{done.returncode}\n{done.stdout}{done.stderr}"

    def run(self, *arguments: str, check: bool = True, timeout: float = START_SECONDS) -> str:
        """Run `docker compose`."""
        return self.call("docker", "compose", *arguments, check=check, timeout=timeout)

    def __enter__(self) -> Self:
        """Build the images, and copy the bundle into its volume."""
        self.run("build", "gateway", "service", timeout=3600)
        # Creates the volumes too. The containers' file systems are read-only, so another one takes the bundle in.
        self.run("create", "service")
        if self._bundle is not None:
            volume = f"{self.name}_bundles:/bundles"
            container = self.call("docker", "create", "--volume", volume, "llmemb-service:test").strip()
            self.call("docker", "cp", f"{self._bundle}", f"{container}:/bundles/demo")
            self.call("docker", "rm", container)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Remove containers, networks and volumes."""
        self.run("--profile", "*", "down", "--volumes", "--timeout", "5")

    def up(self, replicas: int) -> None:
        """Start everything and wait until it is well."""
        self.run("up", "--detach", "--wait", "--no-build", "--scale", f"service={replicas}")

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers."""
        return self.run("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, object]:
        """What the engine knows of a container."""
        found: list[dict[str, object]] = json.loads(self.call("docker", "inspect", container))
        return found[0]

    def is_healthy(self, container: str) -> bool:
        """Whether its health check passes."""
        status = self.call("docker", "inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", container)
        return status.split() == ["running", "healthy"]

    def restarts(self, container: str) -> int:
        """How often the engine has started it again."""
        return int(self.call("docker", "inspect", "--format", "{{.RestartCount}}", container))

    def pause(self, container: str) -> None:
        """Let it hang."""
        self.call("docker", "pause", container)

    def unpause(self, container: str) -> None:
        """Let it go on."""
        self.call("docker", "unpause", container)

    def crash(self, container: str) -> None:
        """Kill its first process from the host: the engine sees a crash and must restart the container."""
        pid = self.call("docker", "inspect", "--format", "{{.State.Pid}}", container).strip()
        self.call(
            "docker", "run", "--rm", "--pid=host", "--network=none", "--user=0", "--entrypoint=sh", "redis:7-alpine",
            "-c", f"kill -9 {pid}",
        )  # fmt: skip

    def ask(self, container: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Ask one replica by itself, from inside its container."""
        program = (
            "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=60); "
            "c.request(sys.argv[1], sys.argv[2], sys.argv[3], {'Content-Type': 'application/json'}); "
            "r = c.getresponse(); print(r.status, r.read().decode())"
        )
        answer = self.call(
            "docker", "exec", container, "python", "-c", program, method, path, json.dumps(body) if body else ""
        )
        status, _, content = answer.partition(" ")
        return int(status), json.loads(content)
