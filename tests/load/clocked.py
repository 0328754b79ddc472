"""The two runs by the clock: a constant rate of many kinds of requests, and more than the service can hold."""

import time
from collections.abc import Sequence
from random import Random

from tests.load.asking import TIMEOUT_SECONDS
from tests.load.config import Overload, Overloaded
from tests.load.figures import Figures
from tests.load.flood import FLOOD, flood
from tests.load.open_loop import saturate
from tests.load.phases import Stream, run_phase, summed_up
from tests.load.population import Population
from tests.load.report import Phase
from tests.load.run_spec import RunSpec
from tests.load.wire import Wire
from tests.load.works import Make, maker, mixed

IDLE, MEANWHILE, AFTER = "Idle", "Meanwhile", "Afterwards"
_LEAST_PER_SECOND = 1.0


async def open_loop_run(run: RunSpec, population: Population) -> tuple[Phase, ...]:
    """Ask at a constant rate."""
    settings = run.config.open_loop
    stream = Stream(mixed(settings.mix, population, Random(run.seed)), settings.per_second)
    wire = Wire(run.url, run.api_key, TIMEOUT_SECONDS)
    try:
        return (await run_phase("Constant rate", wire, [stream], settings.seconds, settings.in_flight),)
    finally:
        wire.close()


async def overload_run(run: RunSpec, population: Population, work: Overloaded) -> tuple[Phase, ...]:
    """Find what the service can hold, then ask when it is idle, while another process asks too often, and afterwards.

    What is compared are the same few requests each time. Those of the flood are counted, but its sender is too late for
    its latencies to say anything of the service.

    Raises:
        ValueError: nothing was answered well while the capacity was looked for.
        EOFError: the flood's process ended before its time.
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
        few = [Stream(make, max(_LEAST_PER_SECOND, settings.idle_share * per_second))]
        if work == "embed_items":
            # Who asks by ids is to feel nothing of it.
            few.append(Stream(maker("recommend", population, random), settings.bystanders_per_second))
        idle = await run_phase(IDLE, wire, few, settings.idle_seconds, settings.in_flight)
        async with flood(run, work, settings.factor * per_second) as flooding:
            meanwhile = await run_phase(MEANWHILE, wire, few, settings.seconds, settings.in_flight)
            flooded = await flooding
        after = await run_phase(AFTER, wire, few, settings.idle_seconds, settings.in_flight)
    finally:
        wire.close()
    return capacity, idle, flooded, meanwhile, after


def overload_breaches(phases: Sequence[Phase], settings: Overload) -> list[str]:
    """Return what an overload must not do, a sentence for each that it did."""
    found = []
    idle, flooded, meanwhile = (
        next(phase.figures for phase in phases if phase.name == name) for name in (IDLE, FLOOD, MEANWHILE)
    )
    for phase in phases:
        if failed := phase.figures.count("failed"):
            found.append(f"{phase.name}: {failed:,} requests failed")
    refusing = [route for figures in (flooded, meanwhile) for route in figures.routes.values()]
    if unsaid := sum(route.refused - route.refused_with_retry_after for route in refusing):
        found.append(f"{unsaid:,} refusals do not say when to come again")
    for route in meanwhile.routes:
        found += _slower(route, idle, meanwhile, settings.p99_times_idle)
    return found


def _slower(route: str, idle: Figures, meanwhile: Figures, times: float) -> list[str]:
    # From sending: where the cores are taken the load itself is late, which is no fault of the service.
    before, then = (figures.routes[route].p99_from_sending_ms for figures in (idle, meanwhile))
    if before is None or then is None:
        return [f"{route}: nothing was accepted"]
    if then <= times * before:
        return []
    ratio = then / before
    return [f"{route}: the p99 of what is accepted is {ratio:.1f} times that of an idle service, at most {times:g}"]


async def _capacity(wire: Wire, make: Make, connections: int, seconds: float) -> Phase:
    began = time.perf_counter()
    arrivals = await saturate(wire, make, connections=connections, seconds=seconds)
    return summed_up("Capacity", arrivals, time.perf_counter() - began, None)
