"""A long life: starts and stops, and an hour's worth of requests in a few minutes, leave nothing behind.

SOAK_SECONDS says how long the requests go on, CYCLES how often the service starts: `make soak` takes 300 and 50.
"""

import asyncio
import gc
import os
import statistics
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest
from pydantic import SecretStr

from llmemb.api.items import ItemBody
from llmemb.api.recommend import Filters, HistoryItem, RecommendRequest
from llmemb.client import BadRequestError, Client, NotFoundError
from llmemb_service.app import create_app
from llmemb_service.settings import Settings
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, Work, show
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, make_settings, shared_encoder_url

CYCLES = int(os.environ.get("CYCLES", "15"))
WARM_CYCLES = 10
"""After which caches of libraries and pools of threads are full."""
CYCLE_MEGABYTES = 0.25
"""By which a cycle may let the process grow: less than an app or a bundle takes."""

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
HOUR_REQUESTS = 36_000
"""Ten a second for an hour."""
HOUR_SECONDS = 300
"""In which they are made at the fastest."""
SOAK_GROWTH = 1.05
"""By which memory may differ between two fifths of the time."""
LATE_THREADS = 8
"""Those that pools, which start one where all are busy, may start late; far fewer than a leak would leave."""
LATE_DESCRIPTORS = 2 * LATE_THREADS
"""Theirs, and those of connections that are open just then."""
EXECUTOR_THREADS = 4


@dataclass(frozen=True, slots=True)
class Use:
    """What a process holds."""

    memory: float
    """Resident, in MB."""
    descriptors: int
    threads: int
    children: int


def use_of(process: psutil.Process) -> Use:
    with process.oneshot():
        return Use(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads(), len(process.children()))


async def start_ask_stop(settings: Settings) -> list[weakref.ref[object]]:
    """Run an app once, ask for something of every part, and give its parts."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            for method, path, body in (
                ("PUT", "/items/heat", {"attributes": HEAT}),
                ("POST", "/recommend", {"history": ["1", "heat"]}),
                ("POST", "/sessions/ann/events", {"events": [{"item_id": "1"}]}),
                ("GET", "/items?query=heat", None),
                ("GET", "/readyz", None),
                ("DELETE", "/items/heat", None),
            ):
                answer = await client.request(method, path, json=body)
                assert answer.is_success, answer.text
        versions = app.state.runtime.versions
        return [weakref.ref(part) for part in (app, versions, versions.current.catalogue, versions.current.encoder)]


def meet(executor: ThreadPoolExecutor) -> None:
    """Start all the executor's threads, and return when each has let go of what it did before.

    A thread that has told the event loop of a result holds its work, and all that the work names, until it runs again.
    """
    together = threading.Barrier(EXECUTOR_THREADS)
    list(executor.map(lambda _: together.wait(), range(EXECUTOR_THREADS)))


@pytest.mark.parametrize("storage", ["sqlite", "redis"])
def test_starts_and_stops_leave_nothing_behind(
    storage: str, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """No descriptor, thread, child or task, none of the parts, and no memory beyond what allocators keep."""
    process = psutil.Process()

    async def cycles(settings: Settings) -> tuple[Use, Use]:
        executor = ThreadPoolExecutor(EXECUTOR_THREADS)
        asyncio.get_running_loop().set_default_executor(executor)
        meet(executor)
        tasks = asyncio.all_tasks()
        for cycle in range(CYCLES):
            parts = await start_ask_stop(settings)
            meet(executor)
            gc.collect()
            assert asyncio.all_tasks() == tasks
            assert [part() for part in parts if part() is not None] == []
            if cycle == WARM_CYCLES - 1:
                warm = use_of(process)
        return warm, use_of(process)

    with RedisServer() as server:
        settings = make_settings(
            tiny_bundle,
            tmp_path,
            redis_url=SecretStr(server.url) if storage == "redis" else None,
            log_level="error",
        )
        warm, end = asyncio.run(cycles(settings))

    show(pytestconfig, f"{CYCLES} starts and stops with {storage}: {warm} after {WARM_CYCLES}, {end} at the end")
    assert (end.descriptors, end.threads, end.children) == (warm.descriptors, warm.threads, warm.children)
    assert end.memory - warm.memory < CYCLE_MEGABYTES * (CYCLES - WARM_CYCLES)


def unknown(client: Client, number: int) -> None:
    with pytest.raises(NotFoundError):
        client.get_item(f"unknown {number}")


def refused(client: Client, number: int) -> None:
    with pytest.raises(BadRequestError):
        client.recommend([str(number)] * 2000)


def put_and_delete(client: Client, number: int) -> None:
    client.put_item(f"put {number % 20}", HEAT | {"title": f"Heat {number}"}, categories=[f"c{number % 7}"])
    if number % 3 == 0:
        client.delete_item(f"put {number % 20}")


def session(client: Client, number: int) -> None:
    name = f"ann-{number % 30}"
    client.add_events(name, [str(number % 40 + 1)])
    client.recommend(session_id=name)
    if number % 30 == 29:
        client.delete_session(name)


WORKS: dict[str, Work] = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1), "2"], k=10),
    "filter": lambda client, number: client.recommend(
        ["1"], k=5, filters=Filters(categories_any=["Drama", f"c{number % 7}"], deny=[str(number % 40 + 1)])
    ),
    "explain": lambda client, number: client.recommend(["1", str(number % 40 + 1)], k=3, explain=True),
    "batch": lambda client, number: client.recommend_batch([RecommendRequest(history=[str(i + 1)]) for i in range(8)]),
    "text": lambda client, number: client.recommend([HistoryItem(attributes={"title": f"Film {number}"})]),
    "session": session,
    "put and delete": put_and_delete,
    "patch": lambda client, number: client.patch_item("3", available=number % 2 == 0),
    "index": lambda client, number: client.embed_items(
        [ItemBody(id=f"index {i}", attributes={"title": f"Film {number} {i}"}) for i in range(3)], index=True
    ),
    "embed": lambda client, number: client.embeddings([f"text {number} {i}" for i in range(4)]),
    "search": lambda client, _: client.item_page(query="the"),
    "similar": lambda client, number: client.similar_items(str(number % 30 + 1)),
    "unknown": unknown,
    "refused": refused,
    "operate": lambda client, _: (client.health(), client.ready(), client.metrics(), client.info()),
}


@pytest.fixture(scope="module")
def services(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ForkedService]]:
    """One on SQLite, one on Redis; what they keep is small, so that it is full early."""
    folder = tmp_path_factory.mktemp("endurance")
    variables = {
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_STATE_DIR": str(folder / "state"),
        "LLMEMB_CACHE_MAX_ITEMS": "100",
        "LLMEMB_FOLD_ITEMS": "10",
        "LLMEMB_REDIS_LOG_ENTRIES": "100",
        "LLMEMB_READINESS_CACHE_SECONDS": "0",
    }
    with RedisServer() as server, ServiceForks(folder) as forks:
        yield {
            "sqlite": forks.start(tiny_bundle, variables),
            "redis": forks.start(tiny_bundle, variables | {"LLMEMB_REDIS_URL": server.url}),
        }


def fifth(uses: list[Use], number: int) -> list[Use]:
    """A fifth of the time, counted from 0."""
    return uses[len(uses) * number // 5 : len(uses) * (number + 1) // 5]


def test_an_hours_requests_leave_nothing_behind(
    services: dict[str, ForkedService], pytestconfig: pytest.Config
) -> None:
    """The last fifth of the time takes no more memory, descriptors or threads than the second."""
    processes = {name: psutil.Process(service.pid) for name, service in services.items()}
    uses: dict[str, list[Use]] = {name: [] for name in services}
    most = int(HOUR_REQUESTS * SOAK_SECONDS / HOUR_SECONDS / len(WORKS) / len(services))
    began = time.monotonic()
    with ExitStack() as stack:
        loads = {
            name: stack.enter_context(Load(service.url, WORKS, pause_seconds=SOAK_SECONDS / most, most=most))
            for name, service in services.items()
        }
        while time.monotonic() - began < SOAK_SECONDS:
            for name, process in processes.items():
                uses[name].append(use_of(process))
            time.sleep(SOAK_SECONDS / 100)

    for name, load in loads.items():
        answers = [answer for work in WORKS for answer in load.answers(work)]
        early, late = fifth(uses[name], 1), fifth(uses[name], 4)
        memory = [statistics.median(use.memory for use in part) for part in (early, late)]
        show(
            pytestconfig,
            f"{len(answers)} requests with {name} in {SOAK_SECONDS:.0f} s: {memory[0]:.1f} and {memory[1]:.1f} MB in "
            f"the second and the last fifth, {early[-1]} and {late[-1]}",
        )
        assert [answer.error for answer in answers if answer.error is not None] == []
        assert memory[1] <= memory[0] * SOAK_GROWTH
        assert max(use.threads for use in late) <= max(use.threads for use in early) + LATE_THREADS
        assert max(use.descriptors for use in late) <= max(use.descriptors for use in early) + LATE_DESCRIPTORS
