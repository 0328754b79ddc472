"""The run folder: a folder for each step, and in `steps/` a record of each step's inputs and state.

A step is skipped if its record says that it is complete with the same inputs and configuration and all its files exist.
It is resumed if the record says that it was started with the same ones, and restarted otherwise.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from llmemb.errors import RunError
from llmemb.files import clear_leftovers, new_folder, write_text_atomically

RECORDS = "steps"


class StepRecord(BaseModel):
    """`steps/<step>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    """Hash of the step's name, its part of the configuration, and the fingerprints of its inputs."""
    status: Literal["running", "done"]
    files: dict[str, int]
    """Path in the folder -> size in bytes, of a completed step."""
    seconds: float = 0.0
    summary: str = ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    def step(self, name: str) -> Path:
        """Return the folder of a step."""
        return self.path / name

    @property
    def logs(self) -> Path:
        """Folder for the TensorBoard logs."""
        return self.path / "logs"

    def record(self, name: str) -> StepRecord | None:
        """Return the record of a step, or None if there is no readable one."""
        try:
            return StepRecord.model_validate_json(self._record_file(name).read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def is_done(self, name: str, fingerprint: str) -> bool:
        """Whether a step is complete with these inputs, and all its files have the recorded size."""
        return self.why_not_done(name, fingerprint) is None

    def why_not_done(self, name: str, fingerprint: str) -> str | None:
        """Return why a step is not complete with these inputs: empty if it never ran, None if it is complete."""
        record = self.record(name)
        if record is None:
            return ""
        if record.fingerprint != fingerprint:
            return "restarting: its configuration or an input has changed"
        if record.status != "done":
            return "resuming after an interruption"
        changed = [file for file, size in record.files.items() if _size(self.step(name) / file) != size]
        return f"restarting: {changed[0]} is missing or has changed" if changed else None

    def begin(self, name: str, fingerprint: str) -> bool:
        """Prepare the step's folder; return whether it contains an interrupted run with the same inputs.

        The record is written before the folder is cleared, so that a half-cleared folder never looks complete.
        """
        record = self.record(name)
        resumed = record is not None and record.status == "running" and record.fingerprint == fingerprint
        if not resumed:
            self._record_file(name).unlink(missing_ok=True)
            # A bundle stays until the new one replaces it, since a service may be using it.
            if name != "bundle":
                shutil.rmtree(self.step(name), ignore_errors=True)
            self._write(name, StepRecord(fingerprint=fingerprint, status="running", files={}))
        self.step(name).mkdir(parents=True, exist_ok=True)
        return resumed

    def finish(self, name: str, fingerprint: str, seconds: float, summary: str) -> None:
        """Record a step as complete, with its current files."""
        folder = self.step(name)
        files = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._write(
            name,
            StepRecord(fingerprint=fingerprint, status="done", files=files, seconds=seconds, summary=summary),
        )

    def adopt(self, name: str, fingerprint: str, other: "RunFolder") -> None:
        """Reuse a step of another run folder if it is complete there with the same inputs, and not complete here.

        The files are hard links: no step modifies a complete file in place.
        """
        record = other.record(name)
        if record is None or self.is_done(name, fingerprint) or not other.is_done(name, fingerprint):
            return
        self.begin(name, fingerprint)
        with new_folder(self.step(name)) as folder:
            shutil.copytree(other.step(name), folder, copy_function=os.link, dirs_exist_ok=True)
        self._write(name, record)

    def _write(self, name: str, record: StepRecord) -> None:
        path = self._record_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, record.model_dump_json(indent=2) + "\n")

    def _record_file(self, name: str) -> Path:
        return self.path / RECORDS / f"{name}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run folder for this process.

        Raises:
            RunError: another process has locked it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"another llmemb process is using {self.path}") from error
            lock.write(str(os.getpid()))
            lock.flush()
            for folder in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
                clear_leftovers(folder)
            yield


def fingerprint_of(step: str, config: Mapping[str, JsonValue], inputs: Sequence[str]) -> str:
    """Hash a step's name, its part of the configuration and the fingerprints of its inputs."""
    content = json.dumps([step, config, list(inputs)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
