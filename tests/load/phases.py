"""A phase of a run by the clock: streams of requests for a time, summed up."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.load.figures import percentile
from tests.load.open_loop import Arrivals, arrive
from tests.load.report import Phase
from tests.load.wire import Wire
from tests.load.works import Make


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of a kind at a constant rate."""

    make: Make
    per_second: float


async def run_phase(name: str, wire: Wire, streams: Sequence[Stream], seconds: float, in_flight: int) -> Phase:
    """Let streams come for a time; returns when all is answered.

    Args:
        name: of the phase.
        wire: carries the requests.
        streams: run side by side.
        seconds: for how long requests come.
        in_flight: of each stream; past it an arrival is dropped.
    """
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
    return summed_up(name, arrivals, time.perf_counter() - began, sum(stream.per_second for stream in streams))


def summed_up(name: str, arrivals: Arrivals, seconds: float, offered: float | None) -> Phase:
    """Make a phase of what came, where it was `offered` so many a second by the clock."""
    late = None
    if offered is not None and arrivals.late_seconds:
        late = percentile(sorted(arrivals.late_seconds), 99) * 1000
    return Phase(
        name=name,
        offered_per_second=offered,
        dropped=arrivals.dropped,
        missed=arrivals.missed,
        late_ms_p99=late,
        figures=arrivals.measurements.figures(seconds),
    )
