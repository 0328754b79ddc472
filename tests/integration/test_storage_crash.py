"""Kill -9 of a process that appends, again and again: what it acknowledged is there."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmemb_service.settings import Settings
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower
from tests.support.packages import SOURCES
from tests.support.redis_server import RedisServer

KILLS = 4
ACKNOWLEDGED_EACH = 40

WRITER = """
import asyncio, sys
from llmemb_service.settings import load_settings
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import put

async def write(storage, name):
    number = 0
    while True:
        number += 1
        await storage.items.append([put(f"{name}-{number}", number), put(f"{name}-{number}-too", number)])
        await storage.sessions.append(name, [f"{name}-{number}"])
        sys.stdout.write(f"{name}-{number}\\n")
        sys.stdout.flush()

async def run(turn):
    async with open_storage(load_settings({}), 1_000) as storage:
        await asyncio.gather(*(write(storage, f"{turn}-{part}") for part in range(4)))

asyncio.run(run(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    with RedisServer(tmp_path) if request.param == "redis" else nullcontext() as server:
        yield server


def acknowledged_before_a_kill(turn: int, environment: dict[str, str]) -> list[str]:
    """Start a writer, and kill it in the midst of its work."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(turn)], env=environment, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(ACKNOWLEDGED_EACH)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    # The kill may have cut the last line.
    whole = [line.removesuffix("\n") for line in lines if line.endswith("\n")]
    assert len(whole) >= ACKNOWLEDGED_EACH
    return whole


def test_killed_writer_loses_nothing_acknowledged(server: RedisServer | None, tmp_path: Path) -> None:
    """Items and session events, after each kill; an append is there whole or not at all."""
    settings = Settings(
        bundle=tmp_path, state_dir=tmp_path / "state", redis_url=SecretStr(server.url) if server is not None else None
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
    environment |= {"LLMEMB_BUNDLE": str(tmp_path), "LLMEMB_STATE_DIR": str(settings.state_dir)}
    environment |= {"PYTHONPATH": SOURCES}
    if server is not None:
        environment["LLMEMB_REDIS_URL"] = server.url

    async def check(acknowledged: list[str]) -> None:
        async with open_storage(settings, 1_000) as storage:
            follower = DictFollower()
            await storage.items.attach(follower)
            assert set(acknowledged) <= follower.items.keys()
            assert all(f"{each.removesuffix('-too')}-too" in follower.items for each in follower.items)
            for each in acknowledged:
                session = await storage.sessions.read(each.rpartition("-")[0])
                assert session is not None
                assert each in session.history

    acknowledged: list[str] = []
    for turn in range(KILLS):
        acknowledged += acknowledged_before_a_kill(turn, environment)
        asyncio.run(check(acknowledged))
