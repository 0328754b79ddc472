"""Follows a page: its blocks are run in their order, in a folder like the repository's, and outputs held to its own."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmemb_training.config import Config
from llmemb_training.config.sections import Section
from tests.docs.outputs import assert_json, assert_text, parse_expected
from tests.docs.page import ROOT, Block
from tests.support.packages import SOURCES

ADDRESS = "127.0.0.1:8000"
"""Where pages say that the service is."""
COMMAND_SECONDS = 900
SHOWN = ("text", "json")
"""Languages of printed output; a reader runs or writes everything else."""
LINKED = ("docs", "training", "benchmarks", ".cache", ".venv", "Makefile", "pyproject.toml", "constraints.txt")


def make_workplace(folder: Path) -> Path:
    """Make a folder in which a page's commands find what they find in the repository, and write what they like."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    # The status of each request is printed beside its output.
    (folder / ".curlrc").write_text('write-out = "%{stderr}status %{http_code}\\n"\n')
    return folder


@dataclass(frozen=True, slots=True)
class Output:
    """What a block printed."""

    block: Block
    text: str
    refused: bool = False
    """Whether one of its requests was answered by an error."""


@dataclass
class Reader:
    """Somebody who follows a page.

    Args:
        folder: as `make_workplace` makes it.
        address: host and port of the service, in the place of the page's.
        values: whether the values in a page's JSON must be equal.
        variables: of the environment, besides.
    """

    folder: Path
    address: str = ADDRESS
    values: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    _names: dict[str, Any] = field(default_factory=dict)
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def follow(self, blocks: list[Block]) -> int:
        """Run and check all blocks; return how many were run."""
        run = 0
        output: Output | None = None
        for block in blocks:
            if block.language in SHOWN and block.not_run is None:
                self._check_output(block, output)
                output = None
                continue
            _assert_not_refused(output)
            output = None
            if block.not_run is None:
                output = self._do(block)
                run += 1
        _assert_not_refused(output)
        return run

    def _do(self, block: Block) -> "Output | None":
        text = block.text.replace(ADDRESS, self.address)
        if block.title is not None:
            (self.folder / block.title).write_text(block.text)
        if block.language == "sh":
            return Output(block, self._serve(block, text)) if block.runs_on else self._run(block, text)
        if block.language == "python":
            return Output(block, self._execute(block, text))
        assert block.language == "toml", f"{block.place}: no rule for running {block.language!r}"
        check_toml(block)
        return None

    def _run(self, block: Block, text: str) -> "Output":
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        statuses = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("status ")]
        return Output(block, done.stdout, refused=any(status >= 400 for status in statuses))

    def _serve(self, block: Block, text: str) -> str:
        log = self.folder / f"server-{len(self._servers)}.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                ["bash", "-c", text],
                cwd=self.folder,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._servers.append(server)
        words = block.runs_on or ""
        deadline = time.monotonic() + COMMAND_SECONDS  # what it prints may come after a check of a whole run
        while words not in log.read_text() and server.poll() is None:
            assert time.monotonic() < deadline, f"{block.place}: it does not say {words!r}\n{log.read_text()}"
            time.sleep(0.05)
        assert server.poll() is None, f"{block.place}: ended\n{log.read_text()}"
        return "".join(line for line in log.read_text().splitlines(keepends=True) if not line.startswith("{"))

    def _execute(self, block: Block, text: str) -> str:
        printed = io.StringIO()
        # In the folder, as the shell's commands are; the names of one block are there in the next.
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile("\n" * block.line + text, block.page, "exec"), self._names)
        return printed.getvalue()

    def _check_output(self, block: Block, output: "Output | None") -> None:
        if output is None:
            if block.language == "json":
                parse_expected(block.text)
            return
        printed = output.text.replace(self.address, ADDRESS)
        if block.language == "text":
            _assert_not_refused(output)
            assert_text(block.text, printed, block.place)
            return
        expected = parse_expected(block.text)
        says_refused = isinstance(expected, dict) and "code" in expected
        assert output.refused == says_refused, f"{block.place}: {printed}"
        assert_json(block.text, printed, block.place, values=self.values)

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        port = self.address.rpartition(":")[2]
        ours = {"PATH": path, "CURL_HOME": str(self.folder), "LLMEMB_PORT": port, "PORT": port, "PYTHONPATH": SOURCES}
        return environment | ours | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | dict(self.variables)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End what runs on, and close the clients that a page leaves to its reader."""
        for server in self._servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
        for value in self._names.values():
            if hasattr(value, "close") and not isinstance(value, type):
                value.close()


def _assert_not_refused(output: "Output | None") -> None:
    assert output is None or not output.refused, (
        f"{output.block.place}: refused, and the page does not say so\n{output.text}"
    )


def check_toml(block: Block) -> None:
    """Hold TOML to the configuration of a run: the whole of it, or its sections alone."""
    content = tomllib.loads(block.text)
    if "prepare" in content and "encoder" in content:
        Config.model_validate(content)
        return
    for name, section in content.items():
        if name == "project":
            continue  # a package's own file
        kind = Config.model_fields[name].annotation
        assert isinstance(kind, type), f"{block.place}: {name}"
        assert issubclass(kind, Section), f"{block.place}: {name}"
        kind.model_validate(section)


def has_curl() -> bool:
    """Whether pages can be followed here at all."""
    return shutil.which("curl") is not None
