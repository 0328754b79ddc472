"""A process whose clock is set ahead and back while it runs: libfaketime, loaded before all else."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest

_SYSTEMS = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


def _library() -> Path:
    spec = importlib.util.find_spec("libfaketime")
    carried = [] if spec is None or spec.origin is None else [Path(spec.origin).parent]
    found = [path for folder in carried for path in folder.glob("vendor/libfaketime/src/libfaketime.so.1")]
    found += [path for path in map(Path, _SYSTEMS) if path.is_file()]
    if not found:
        pytest.skip("no libfaketime: `pip install libfaketime` brings one, or `apt-get install libfaketime`")
    return found[0]


class JumpingClock:
    """The clock of the processes that are started with its variables; monotonic time goes on as ever.

    Args:
        path: a file for what it is set to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._library = _library()
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead of the machine's own, within a second."""
        # Replaced whole: a process may be reading it.
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self._path)

    @property
    def variables(self) -> Mapping[str, str]:
        """What a process is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
