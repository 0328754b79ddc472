"""The two runs by the clock: a constant rate of many kinds of requests, and more than the service can hold."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.load.asking import TIMEOUT_SECONDS
from tests.load.config import Overload, Overloaded
from tests.load.figures import Figures, percentile
from tests.load.open_loop import Arrivals, arrive, saturate
from tests.load.population import Population
from tests.load.report import Phase
from tests.load.run_spec import RunSpec
from tests.load.wire import Wire
from tests.load.works import Make, maker, mixed

IDLE, FLOOD, AFTER = "Idle", "Overload", "Afterwards"
_LEAST_PER_SECOND = 1.0


@dataclass(frozen=True, slots=True)
class _Stream:
    make: Make
    per_second: float


async def open_loop_run(run: RunSpec, population: Population) -> tuple[Phase, ...]:
    """Ask at a constant rate."""
    settings = run.config.open_loop
    stream = _Stream(mixed(settings.mix, population, Random(run.seed)), settings.per_second)
    wire = Wire(run.url, run.api_key, TIMEOUT_SECONDS)
    try:
        return (await _phase("Constant rate", wire, [stream], settings.seconds, settings.in_flight),)
    finally:
        wire.close()


async def overload_run(run: RunSpec, population: Population, work: Overloaded) -> tuple[Phase, ...]:
    """Find what the service can hold, then ask when it is idle, too often, and when it is idle again.

    Raises:
        ValueError: nothing was answered well while the capacity was looked for.
    """
    settings = run.config.overload
    random = Random(run.seed)
    make = maker(work, population, random, settings.embed_items)
    wire = Wire(run.url, run.api_key, TIMEOUT_SECONDS)
    try:
        connections = settings.capacity_connections[work]
        capacity = await _capacity(wire, make, connections, settings.capacity_seconds)
        per_second = capacity.figures.count("ok") / capacity.figures.seconds
        if not per_second:
            raise ValueError(f"no capacity was found: {capacity.figures.failures or 'everything was refused'}")
        few = [_Stream(make, max(_LEAST_PER_SECOND, settings.idle_share * per_second))]
        many = [_Stream(make, settings.factor * per_second)]
        if work == "embed_items":
            # Who asks by ids is to feel nothing of it.
            bystanders = _Stream(maker("recommend", population, random), settings.bystanders_per_second)
            few, many = [*few, bystanders], [*many, bystanders]
        idle = await _phase(IDLE, wire, few, settings.idle_seconds, settings.in_flight)
        flood = await _phase(FLOOD, wire, many, settings.seconds, settings.in_flight)
        after = await _phase(AFTER, wire, few, settings.idle_seconds, settings.in_flight)
    finally:
        wire.close()
    return capacity, idle, flood, after


def overload_breaches(phases: Sequence[Phase], settings: Overload) -> list[str]:
    """Return what an overload must not do, a sentence for each that it did."""
    found = []
    idle, flood = (next(phase.figures for phase in phases if phase.name == name) for name in (IDLE, FLOOD))
    for phase in phases:
        if failed := phase.figures.count("failed"):
            found.append(f"{phase.name}: {failed:,} requests failed")
    unsaid = flood.count("refused") - sum(route.refused_with_retry_after for route in flood.routes.values())
    if unsaid:
        found.append(f"{unsaid:,} refusals do not say when to come again")
    for route in flood.routes:
        found += _slower(route, idle, flood, settings.p99_times_idle)
    return found


def _slower(route: str, idle: Figures, flood: Figures, times: float) -> list[str]:
    # From sending: at such a rate the load itself is late, which is no fault of the service.
    before, then = (figures.routes[route].p99_from_sending_ms for figures in (idle, flood))
    if before is None or then is None:
        return [f"{route}: nothing was accepted"]
    if then <= times * before:
        return []
    ratio = then / before
    return [f"{route}: the p99 of what is accepted is {ratio:.1f} times that of an idle service, at most {times:g}"]


async def _capacity(wire: Wire, make: Make, connections: int, seconds: float) -> Phase:
    began = time.perf_counter()
    arrivals = await saturate(wire, make, connections=connections, seconds=seconds)
    return _summed_up("Capacity", arrivals, time.perf_counter() - began, None)


async def _phase(name: str, wire: Wire, streams: Sequence[_Stream], seconds: float, in_flight: int) -> Phase:
    arrivals = Arrivals()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for stream in streams:
            tasks.create_task(
                arrive(
                    wire,
                    stream.make,
                    per_second=stream.per_second,
                    seconds=seconds,
                    most_in_flight=in_flight,
                    arrivals=arrivals,
                )
            )
    return _summed_up(name, arrivals, time.perf_counter() - began, sum(stream.per_second for stream in streams))


def _summed_up(name: str, arrivals: Arrivals, seconds: float, offered: float | None) -> Phase:
    late = None
    if offered is not None and arrivals.late_seconds:
        late = percentile(sorted(arrivals.late_seconds), 99) * 1000
    figures = arrivals.measurements.figures(seconds)
    return Phase(
        name=name,
        offered_per_second=offered,
        dropped=arrivals.dropped,
        missed=arrivals.missed,
        late_ms_p99=late,
        figures=figures,
    )
