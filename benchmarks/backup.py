"""Backup and restore of many items and sessions: time, size, memory, and the latency of other Redis clients.

    python -m benchmarks.backup [--items 100000] [--sessions 100000] [--width 256] [--folder DIR]

Runs `llmemb backup` and `llmemb restore` as processes, with a state folder and with a Redis server that it starts, and
prints a table. Needs `redis-server`, as the tests do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import redis

from llmemb_service.backup.archive import Manifest, write_archive
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.state_files import KeptItem, KeptSession, open_state_files
from tests.support.redis_server import RedisServer

SEED = 42
HISTORY = 20


def main() -> None:
    """Measure both storages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=256, help="width of a semantic vector")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        made = folder / "made.zip"
        write_made(made, options.items, options.sessions, options.width)
        print(f"{options.items} items of {options.width}, {options.sessions} sessions; load {os.getloadavg()[0]:.1f}")
        with RedisServer(folder / "redis") as server:
            for storage, variables in (
                ("SQLite", {"LLMEMB_STATE_DIR": str(folder / "state")}),
                ("Redis", {"LLMEMB_REDIS_URL": server.url}),
            ):
                out = folder / f"{storage}.zip"
                measure(f"restore into {storage}", server, variables, "restore", str(made))
                measure(f"backup of {storage}", server, variables, "backup", "--out", str(out))
                print(f"  file: {out.stat().st_size / 1e6:.0f} MB")
                measure(f"restore --replace into {storage}", server, variables, "restore", str(out), "--replace")


def write_made(path: Path, num_items: int, num_sessions: int, width: int) -> None:
    """Write a backup with generated items and sessions."""
    random = np.random.default_rng(SEED)

    def items() -> Iterable[KeptItem]:
        for number in range(num_items):
            vector = random.standard_normal(width).astype("<f4").tobytes()
            attributes = (
                f'{{"title":"Item number {number}","brand":"Brand {number % 97}","description":"{"word " * 40}"}}'
            )
            yield KeptItem(f"item-{number}", attributes, '["a", "b"]', None, False, {"bundle": vector})

    def sessions() -> Iterable[KeptSession]:
        for number in range(num_sessions):
            history = tuple(f"item-{item}" for item in random.integers(0, num_items, HISTORY).tolist())
            yield KeptSession(f"session-{number}", history, time.time() + 86400)

    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        with open_state_files(folder) as files:
            files.add_items(items())
            files.set_bundles(["bundle"])
            files.add_sessions(sessions())
        manifest = Manifest(
            created="made",
            program="made",
            storage="sqlite",
            position=None,
            items=num_items,
            removed=0,
            sessions=num_sessions,
            bundles=("bundle",),
            parts={},
        )
        write_archive(path, folder, manifest, Progress())


def measure(name: str, server: RedisServer, variables: dict[str, str], *arguments: str) -> None:
    """Run the command and print its time and memory."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LLMEMB_")}
    with Pinger(server) as pinger:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "llmemb", *arguments], env=kept | variables, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
    assert process.returncode == 0
    print(
        f"{name}: {seconds:.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of a core), "
        f"peak memory {usage.ru_maxrss / 1024:.0f} MB, longest wait of another for Redis {pinger.longest * 1000:.0f} ms"
    )


class Pinger:
    """Sends Redis a command every few milliseconds, and records the longest latency."""

    def __init__(self, server: RedisServer) -> None:
        self._client: redis.Redis = server.client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.longest = 0.0

    def _ask(self) -> None:
        while not self._ended.wait(0.005):
            started = time.perf_counter()
            self._client.ping()
            self.longest = max(self.longest, time.perf_counter() - started)

    def __enter__(self) -> "Pinger":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()
        self._client.close()


if __name__ == "__main__":
    main()
