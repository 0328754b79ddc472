"""Backup and restore as an operator runs them: beside a service that writes, killed on the way, and served again."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest
from pydantic import SecretStr

from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import put
from tests.support.kept_state import State, state_of
from tests.support.packages import SOURCES
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, make_settings, running
from tests.support.waiting import DEADLINE_SECONDS

REPOSITORY = Path(__file__).parents[2]
ITEMS = 1500
"""So many that a restore can be killed in its midst."""

WRITER = """
import asyncio, sys
from llmemb_service.storage.changes import PatchItem
from llmemb_service.settings import load_settings
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower, put

async def run():
    async with open_storage(load_settings({}), 100_000) as storage:
        await storage.items.attach(DictFollower())
        number = 0
        while True:
            number += 1
            patches = [PatchItem(f"i{number - 1}", None, False)] if number > 1 else []
            await storage.items.append([put(f"i{number}", number), put(f"{number}-too", number), *patches])
            await storage.sessions.append("s", [f"i{number}"])
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()

asyncio.run(run())
"""

FORKING = """
import json, os, sys
import llmemb.cli, llmemb_service.backup.cli

for line in sys.stdin:
    order = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    os.environ.update(order["variables"])
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    llmemb.cli.main(order["arguments"])
    os._exit(0)
"""


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") if request.param == "redis" else nullcontext() as server:
        yield server


def setup_of(folder: Path, server: RedisServer | None = None) -> Settings:
    url = SecretStr(server.url) if server is not None else None
    return Settings(bundle=Path("bundle"), state_dir=folder, redis_url=url)


def variables_of(setup: Settings) -> dict[str, str]:
    """The environment that gives a process these settings."""
    variables = {"LLMEMB_BUNDLE": str(setup.bundle), "LLMEMB_STATE_DIR": str(setup.state_dir)}
    if setup.redis_url is not None:
        variables["LLMEMB_REDIS_URL"] = setup.redis_url.get_secret_value()
    return variables


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
    return kept | {"PYTHONPATH": SOURCES} | variables


def llmemb(setup: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with the settings in its environment; a bundle it needs none of."""
    variables = environment(**variables_of(setup))
    del variables["LLMEMB_BUNDLE"]
    return subprocess.run(
        [sys.executable, "-m", "llmemb", *arguments],
        env=variables, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_backup_beside_a_writer_is_a_prefix_of_what_it_wrote(server: RedisServer | None, tmp_path: Path) -> None:
    """All that was acknowledged before, nothing by half, no change without those before it; three times."""
    setup = setup_of(tmp_path / "state", server)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], env=environment(**variables_of(setup)), stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for turn in range(3):
            acknowledged = [int(writer.stdout.readline()) for _ in range(60)][-1]
            path = asyncio.run(write_backup(setup, tmp_path / f"{turn}.zip", Progress())).path
            restored = setup_of(tmp_path / f"restored-{turn}")
            asyncio.run(restore_backup(restored, path, replace=False, progress=Progress()))
            check_prefix(asyncio.run(state_of(restored, ("s",))), acknowledged)
        writer.kill()


def check_prefix(state: State, acknowledged: int) -> None:
    items = dict(state.items["b1"])
    last = len(items) // 2
    assert last >= acknowledged
    assert list(items) == [name for number in range(1, last + 1) for name in (f"i{number}", f"{number}-too")]
    # Each change makes the item of the one before unavailable: all but the last were.
    assert [items[f"i{number}"].available for number in range(1, last + 1)] == [False] * (last - 1) + [None]
    history = state.sessions["s"][0][-1000:]
    assert history[-1] >= f"i{acknowledged}" or len(history[-1]) > len(f"i{acknowledged}")


class Forks:
    """Runs the command again and again at the cost of one import."""

    def __enter__(self) -> Self:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", FORKING], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def run(self, setup: Settings, *arguments: str, kill_when: Callable[[], bool] = lambda: False) -> int:
        """Run the command, kill -9 it as soon as a condition holds, and return its exit code."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({"variables": variables_of(setup), "arguments": arguments}) + "\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        # Without a pause between two looks: what it is killed in lasts milliseconds.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not kill_when() and psutil.pid_exists(pid):
            assert time.monotonic() < deadline, "it neither ends nor comes to where it is killed"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return int(self._parent.stdout.readline())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()


async def fill(setup: Settings, name: str) -> None:
    async with open_storage(setup, 10) as storage:
        for start in range(0, ITEMS, 500):
            await storage.items.append([put(f"{name}{number}", number) for number in range(start, start + 500)])
        await asyncio.gather(*(storage.sessions.append(f"{name}{number}", [name]) for number in range(20)))


def summary(setup: Settings) -> tuple[set[str], int, list[str]]:
    """Whose items and sessions there are, and how many."""
    state = asyncio.run(state_of(setup, ("old0", "old19", "new0", "new19")))
    names = [item_id[:3] for item_id, _ in state.items["b1"]]
    return set(names), len(names), sorted(state.sessions)


def size_of(path: Path) -> int:
    """In bytes, 0 where there is no such file; it may go at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def places_of_a_restore(setup: Settings, server: RedisServer | None) -> list[Callable[[], bool]]:
    """Where a restore is killed."""
    if server is None:
        building = setup.state_dir / "restore.tmp"
        catalogue = building / "catalogue.sqlite3"
        return [
            building.exists,
            lambda: size_of(catalogue) > 100_000,
            (building / "sessions.sqlite3").exists,
            lambda: not building.exists() and (setup.state_dir / "restored").exists(),
        ]
    client = server.client()

    def staged(name: str, count: int) -> bool:
        keys = client.keys(f"{{llmemb}}:restore:*:{name}")
        if not keys:
            return False
        return int(client.zcard(keys[0]) if name == "order" else client.exists(keys[0])) >= count

    return [
        lambda: bool(client.exists("{llmemb}:restore-lock")),
        lambda: staged("order", 1),
        lambda: staged("order", ITEMS // 2),
        lambda: staged("meta", 1),
        lambda: staged("new-sessions", 1),
        lambda: staged("old-sessions", 1),
    ]


def test_killed_restore_leaves_the_old_state_or_the_new_one(server: RedisServer | None, tmp_path: Path) -> None:
    """Whole, wherever it is killed; the next restore works, and nothing of the killed ones is left."""
    setup = setup_of(tmp_path / "state", server)
    source = setup_of(tmp_path / "source")
    asyncio.run(fill(source, "new"))
    path = asyncio.run(write_backup(source, tmp_path / "backup.zip", Progress())).path
    asyncio.run(fill(setup, "old"))
    old, new = [({name}, ITEMS, [f"{name}0", f"{name}19"]) for name in ("old", "new")]
    assert summary(setup) == old

    def a_minute_passes() -> None:
        if server is not None:
            with server.client() as client:
                client.delete("{llmemb}:restore-lock")

    with Forks() as forks:
        killed = 0
        for place in places_of_a_restore(setup, server):
            killed += forks.run(setup, "restore", str(path), "--replace", kill_when=place) == -signal.SIGKILL
            assert summary(setup) in (old, new)
            a_minute_passes()
        assert killed >= 2
        assert forks.run(setup, "restore", str(path), "--replace") == 0
    assert summary(setup) == new
    if server is None:
        assert {found.name for found in setup.state_dir.iterdir()} == {"catalogue.sqlite3", "sessions.sqlite3", "lock"}
    else:
        with server.client() as client:
            assert client.keys("*restore*") == []


def test_killed_backup_leaves_the_last_one(server: RedisServer | None, tmp_path: Path) -> None:
    """Whole, wherever it is killed; the next one works, and leaves nothing else behind."""
    setup = setup_of(tmp_path / "state", server)
    asyncio.run(fill(setup, "old"))
    folder = tmp_path / "backups"
    folder.mkdir()
    target, work = folder / "backup.zip", folder / ".llmemb-backup.tmp" / "work"
    target.write_bytes(b"the last one")
    catalogue, zipped = work / "catalogue.sqlite3", work / "backup.zip"
    places = [
        work.exists,
        lambda: size_of(catalogue) > 100_000,
        zipped.exists,
        lambda: size_of(zipped) > 10_000,
    ]
    with Forks() as forks:
        killed = 0
        for place in places:
            code = forks.run(setup, "backup", "--out", str(target), kill_when=place)
            killed += code == -signal.SIGKILL
            assert code == 0 or target.read_bytes() == b"the last one"
            target.write_bytes(b"the last one")
        assert killed >= 2
        assert forks.run(setup, "backup", "--out", str(target)) == 0
    assert [found.name for found in folder.iterdir()] == ["backup.zip"]
    restored = setup_of(tmp_path / "restored")
    asyncio.run(restore_backup(restored, target, replace=False, progress=Progress()))
    assert asyncio.run(state_of(restored)).items == asyncio.run(state_of(setup)).items


def test_redis_that_is_away_fails_both_and_is_left_alone(tmp_path: Path) -> None:
    """With a sentence, without the address; the backup that was there stays."""
    server = RedisServer()
    setup = setup_of(tmp_path / "state", server)
    source = setup_of(tmp_path / "source")
    asyncio.run(fill(source, "new"))
    path = asyncio.run(write_backup(source, tmp_path / "backup.zip", Progress())).path
    with pytest.raises(StorageError, match=r"^Redis does not answer \(ConnectionError\); nothing was copied$"):
        asyncio.run(write_backup(setup, path, Progress()))
    with pytest.raises(StorageError, match=r"^Redis does not answer \(ConnectionError\); nothing was restored$"):
        asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))


def test_full_redis_keeps_what_it_had(tmp_path: Path) -> None:
    """A restore needs room for both states for a while; without it nothing is changed, and what was staged goes."""
    with RedisServer() as server, server.client() as client:
        setup, source = setup_of(tmp_path / "state", server), setup_of(tmp_path / "source")
        asyncio.run(fill(source, "new"))
        path = asyncio.run(write_backup(source, tmp_path / "backup.zip", Progress())).path
        asyncio.run(fill(setup, "old"))
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 200_000)
        with pytest.raises(StorageError, match="Redis refuses the command: it is out of memory; nothing was restored"):
            asyncio.run(restore_backup(setup, path, replace=True, progress=Progress()))
        client.config_set("maxmemory", 0)
        assert client.keys("*restore*") == []
        assert summary(setup)[0] == {"old"}


def test_full_redis_is_backed_up(tmp_path: Path) -> None:
    """Where it takes no more writes a backup is what one wants first."""
    with RedisServer() as server, server.client() as client:
        setup, restored = setup_of(tmp_path / "state", server), setup_of(tmp_path / "restored")
        asyncio.run(fill(setup, "old"))
        client.config_set("maxmemory", 1)
        path = asyncio.run(write_backup(setup, tmp_path / "backup.zip", Progress())).path
        asyncio.run(restore_backup(restored, path, replace=False, progress=Progress()))
        assert summary(restored)[0] == {"old"}


def asked(client: Any) -> dict[str, Any]:
    """What the service answers to those who know the added items."""
    return {
        "after": client.post("/recommend", json={"history": ["1"], "k": 40}).json()["items"],
        "session": client.post("/recommend", json={"session_id": "s", "k": 40}).json()["items"],
        "history": client.get("/sessions/s").json()["history"],
        "item": client.get("/items/heat").json(),
        "removed": client.get("/items/2").status_code,
        "found": [item["id"] for item in client.get("/items", params={"q": "heat"}).json()["items"]],
    }


def test_restored_service_answers_as_before(tiny_bundle: Path, tmp_path: Path) -> None:
    """Put, patched and removed by requests, backed up while served, restored into a folder and into Redis."""
    with RedisServer() as server:
        first = make_settings(tiny_bundle, tmp_path / "state")
        with running(first) as client:
            assert client.put("/items/heat", json={"attributes": HEAT, "categories": ["x"]}).status_code == 201
            assert client.patch("/items/3", json={"available": False}).status_code == 200
            assert client.delete("/items/2").status_code == 204
            assert client.post("/sessions/s/events", json={"events": [{"item_id": "heat"}]}).status_code == 200
            before = asked(client)
            done = llmemb(first, "backup", "--out", str(tmp_path))
            assert (done.returncode, done.stderr) == (0, "")
            path = done.stdout.partition(": ")[0]
            assert "2 items, 1 removed, 1 sessions, vectors of 1 bundles" in done.stdout
            refused = llmemb(first, "restore", path, "--replace")
            assert refused.returncode == 3
            assert "a service uses" in refused.stderr
        assert "heat" in {item["id"] for item in before["after"]}

        url = SecretStr(server.url)
        for second in (
            make_settings(tiny_bundle, tmp_path / "other"),
            make_settings(tiny_bundle, tmp_path / "third", redis_url=url),
        ):
            done = llmemb(second, "restore", path)
            assert done.stdout.startswith("restored 2 items, 1 removed, and 1 sessions (0 had ended since)"), (
                done.stderr
            )
            with running(second) as client:
                assert asked(client) == before
            assert "--replace" in llmemb(second, "restore", path).stderr


def test_restore_of_another_file_is_a_sentence(tmp_path: Path) -> None:
    """Of one line, with the file's name."""
    (tmp_path / "backup.zip").write_bytes(b"PK")
    setup = setup_of(tmp_path / "state")
    done = llmemb(setup, "restore", str(tmp_path / "backup.zip"))
    assert done.returncode == 3
    assert done.stderr.startswith(f"llmemb restore: {tmp_path}/backup.zip is no backup, or is cut or damaged")
    assert done.stderr.count("\n") == 1
    assert not setup.state_dir.exists()
