"""The runs that send by a schedule: a constant rate of a mix of requests, and more than the service can hold."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random

import uvloop

from llmemb.api.items import ItemBody
from llmemb.client import calls
from tests.load.config import TIMEOUT_SECONDS, Overload, Overloaded, RunSpec, Work
from tests.load.figures import Figures, Measurements, measurement_of, percentile
from tests.load.http_load import AnyCall, Connections, Exchange, Unsent, closed_loop, open_loop
from tests.load.population import Population, read_population
from tests.load.report import Phase

CAPACITY, IDLE, FLOOD, MEANWHILE, AFTER = "Capacity", "Idle", "Overload", "Meanwhile", "Afterwards"
_READ_EACH = 20
"""One good answer in so many is parsed as the client parses it: more would take processor time from the service."""
_MIN_PER_SECOND = 1.0
_FLOOD_NICE = 5


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of a kind at a constant rate."""

    requests: Iterator[AnyCall]
    per_second: float


class _Recording:
    """Collects the exchanges of a phase."""

    def __init__(self) -> None:
        self.unsent = Unsent()
        self._begun = time.perf_counter()
        self._measurements = Measurements()
        self._late_seconds: list[float] = []

    def add(self, exchange: Exchange) -> None:
        read = len(self._measurements) % _READ_EACH == 0
        self._measurements.add(measurement_of(exchange, read=read))
        self._late_seconds.append(exchange.late_seconds)

    def phase(self, name: str, per_second: float | None) -> Phase:
        late = None
        if per_second is not None and self._late_seconds:
            late = percentile(sorted(self._late_seconds), 99) * 1000
        return Phase(
            name=name,
            offered_per_second=per_second,
            dropped=self.unsent.dropped,
            missed=self.unsent.missed,
            late_ms_p99=late,
            figures=self._measurements.figures(time.perf_counter() - self._begun),
        )


def requests_of(
    mix: Mapping[Work, float], population: Population, random: Random, new_items: int = 1
) -> Iterator[AnyCall]:
    """Make requests without end, drawn by popularity. No request leaves anything behind.

    Args:
        mix: kind of request -> its weight.
        population: what is drawn from.
        random: draws.
        new_items: new texts of one request to the encoder.
    """

    def new_bodies() -> list[ItemBody]:
        return [ItemBody(id=f"{i}", attributes=population.new_attributes(random)) for i in range(new_items)]

    makers: dict[Work, Callable[[], AnyCall]] = {
        "search": lambda: calls.item_page(query=population.word(random)),
        "similar": lambda: calls.similar_items(population.item(random).id, k=10),
        "recommend": lambda: calls.recommend(population.history(random)),
        "embed_items": lambda: calls.embed_items(new_bodies()),
        "embeddings": lambda: calls.embeddings([" ".join(population.word(random) for _ in range(8))]),
    }
    while True:
        (work,) = random.choices(list(mix), list(mix.values()))
        yield makers[work]()


async def run_phase(
    name: str, connections: Connections, streams: Sequence[Stream], seconds: float, in_flight: int
) -> Phase:
    """Send some streams side by side for so long, each with so many requests in flight at most."""
    recording = _Recording()
    async with asyncio.TaskGroup() as tasks:
        for stream in streams:
            tasks.create_task(
                open_loop(
                    connections,
                    stream.requests,
                    per_second=stream.per_second,
                    seconds=seconds,
                    max_in_flight=in_flight,
                    record=recording.add,
                    unsent=recording.unsent,
                )
            )
    return recording.phase(name, sum(stream.per_second for stream in streams))


async def constant_rate_run(run: RunSpec, population: Population) -> tuple[Phase, ...]:
    """Send a mix of requests at a constant rate."""
    settings = run.config.open_loop
    stream = Stream(requests_of(settings.mix, population, Random(run.seed)), settings.per_second)
    with closing(_connections(run)) as connections:
        return (await run_phase("Constant rate", connections, [stream], settings.seconds, settings.in_flight),)


async def overload_run(run: RunSpec, population: Population, work: Overloaded) -> tuple[Phase, ...]:
    """Measure the capacity, then send a few requests: to the idle service, beside a flood of requests, and afterwards.

    The phases are compared by the same few requests. Those of the flood are counted, but their sender is too late for
    its latencies to say anything about the service.

    Raises:
        ValueError: no request of the capacity phase was answered well.
        EOFError: the process of the flood ended early.
    """
    settings = run.config.overload
    random = Random(run.seed)
    requests = requests_of({work: 1}, population, random, settings.embed_items)
    with closing(_connections(run)) as connections:
        recording = _Recording()
        clients = settings.capacity_connections[work]
        await closed_loop(
            connections, requests, clients=clients, seconds=settings.capacity_seconds, record=recording.add
        )
        capacity = recording.phase(CAPACITY, None)
        per_second = capacity.figures.count("ok") / capacity.figures.seconds
        if not per_second:
            raise ValueError(f"no capacity was found: {capacity.figures.failures or 'everything was refused'}")
        few = [Stream(requests, max(_MIN_PER_SECOND, settings.idle_share * per_second))]
        if work == "embed_items":
            # An overloaded encoder must not slow recommendations by ids.
            few.append(Stream(requests_of({"recommend": 1}, population, random), settings.bystanders_per_second))
        idle = await run_phase(IDLE, connections, few, settings.idle_seconds, settings.in_flight)
        async with _flood(run, work, settings.factor * per_second) as flooding:
            meanwhile = await run_phase(MEANWHILE, connections, few, settings.seconds, settings.in_flight)
            flooded = await flooding
        after = await run_phase(AFTER, connections, few, settings.idle_seconds, settings.in_flight)
    return capacity, idle, flooded, meanwhile, after


def overload_breaches(phases: Sequence[Phase], settings: Overload) -> list[str]:
    """Return a sentence for each thing that an overload must not do and did."""
    found = []
    idle, flooded, meanwhile = (
        next(phase.figures for phase in phases if phase.name == name) for name in (IDLE, FLOOD, MEANWHILE)
    )
    for phase in phases:
        if failed := phase.figures.count("failed"):
            found.append(f"{phase.name}: {failed:,} requests failed")
    refusing = [route for figures in (flooded, meanwhile) for route in figures.routes.values()]
    if without := sum(route.refused - route.refused_with_retry_after for route in refusing):
        found.append(f"{without:,} refusals have no Retry-After")
    for route in meanwhile.routes:
        found += _slower(route, idle, meanwhile, settings.p99_times_idle)
    return found


def _slower(route: str, idle: Figures, meanwhile: Figures, times: float) -> list[str]:
    # From sending: the load itself is late where it lacks processor time, which is no fault of the service.
    before, then = (figures.routes[route].p99_from_sending_ms for figures in (idle, meanwhile))
    if before is None or then is None:
        return [f"{route}: nothing was accepted"]
    if then <= times * before:
        return []
    ratio = then / before
    return [f"{route}: the p99 of accepted requests is {ratio:.1f} times that of an idle service, at most {times:g}"]


@asynccontextmanager
async def _flood(run: RunSpec, work: Overloaded, per_second: float) -> AsyncIterator[Awaitable[Phase]]:
    """Send more than the service can hold while the block runs, from another process; gives its phase.

    At such a rate a sender is always late, and late to read the answers too. The requests that are measured must not
    wait in the same event loop.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send_flood, args=(theirs, run, work, per_second), daemon=True)
    process.start()
    theirs.close()
    try:
        await asyncio.to_thread(ours.recv)
        yield asyncio.to_thread(ours.recv)
    finally:
        process.terminate()
        process.join()


def _send_flood(connection: Connection, run: RunSpec, work: Overloaded, per_second: float) -> None:
    settings = run.config.overload
    # Yields to the process that measures, which must not be late for want of a core.
    os.nice(_FLOOD_NICE)
    # Another seed: other requests than those that are measured.
    requests = requests_of({work: 1}, read_population(run.bundle), Random(run.seed + 1), settings.embed_items)

    async def send() -> Phase:
        with closing(_connections(run)) as connections:
            stream = Stream(requests, per_second)
            return await run_phase(FLOOD, connections, [stream], settings.seconds, settings.in_flight)

    connection.send("begins")
    connection.send(uvloop.run(send()))


def _connections(run: RunSpec) -> Connections:
    return Connections(run.url, run.api_key, TIMEOUT_SECONDS)
