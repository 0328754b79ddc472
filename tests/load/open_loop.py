"""Requests by the clock: each is sent when its time has come, whether or not those before are answered.

Its latency counts from the moment that was meant for it, so that what waits, in the service or before it, is seen. A
closed loop hides it: there the next request waits until the last is answered.
"""

import asyncio
import time
from dataclasses import dataclass, field

from tests.load.figures import Measurements
from tests.load.measurement import Measurement, Outcome, parts_of
from tests.load.routes import route_of
from tests.load.steps import AnyCall
from tests.load.wire import RawAnswer, Wire
from tests.load.works import Make

READ_EACH = 20
"""One good answer of so many is read as the client reads it: more would cost the service its core."""
MOST_LATE_SECONDS = 0.25
"""By which an arrival may be sent too late; without an end to it a run would have none."""
_REFUSED = 429
_REFUSED_SECONDS = 0.1


@dataclass(slots=True)
class Arrivals:
    """What became of the arrivals of one or several streams."""

    measurements: Measurements = field(default_factory=Measurements)
    dropped: int = 0
    """Not sent, since as many were in flight as may be."""
    missed: int = 0
    """Not sent, since this process came to it too late: it has not the core that such a rate takes."""
    late_seconds: list[float] = field(default_factory=list)
    """By how much each was sent later than it was meant to, for want of a core."""


async def arrive(
    wire: Wire, make: Make, *, per_second: float, seconds: float, most_in_flight: int, arrivals: Arrivals
) -> None:
    """Let requests come at a constant rate; returns when the last one is answered.

    Args:
        wire: carries them.
        make: makes each.
        per_second: how many come.
        seconds: for how long they come.
        most_in_flight: past it an arrival is dropped.
        arrivals: takes what became of them.
    """
    begun = time.perf_counter()
    under_way: set[asyncio.Task[Outcome]] = set()
    async with asyncio.TaskGroup() as tasks:
        for number in range(max(1, round(per_second * seconds))):
            meant = begun + number / per_second
            await asyncio.sleep(max(0.0, meant - time.perf_counter()))
            if time.perf_counter() - meant > MOST_LATE_SECONDS:
                arrivals.missed += 1
                continue
            if len(under_way) >= most_in_flight:
                arrivals.dropped += 1
                continue
            sending = tasks.create_task(_send(wire, make(), meant, arrivals))
            under_way.add(sending)
            sending.add_done_callback(under_way.discard)


async def saturate(wire: Wire, make: Make, *, connections: int, seconds: float) -> Arrivals:
    """Ask over so many connections, one at a time on each, for so long: as much as the service can hold.

    A connection that is refused pauses, or refusals would take the cores of what is to be measured.
    """
    arrivals = Arrivals()
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        while (now := time.perf_counter()) < end:
            if await _send(wire, make(), now, arrivals) == "refused":
                await asyncio.sleep(_REFUSED_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(go_on())
    return arrivals


async def _send(wire: Wire, call: AnyCall, meant: float, arrivals: Arrivals) -> Outcome:
    late_seconds = time.perf_counter() - meant
    arrivals.late_seconds.append(late_seconds)
    answer: RawAnswer | None = None
    outcome: Outcome = "failed"
    try:
        answer = await wire.exchange(call)
    except OSError as error:  # TimeoutError is one
        reason = type(error).__name__
    seconds = time.perf_counter() - meant
    if answer is not None:
        outcome, reason = _outcome(call, answer, checked=len(arrivals.measurements) % READ_EACH == 0)
    headers = {} if answer is None else answer.headers
    arrivals.measurements.add(
        Measurement(
            route=route_of(call),
            outcome=outcome,
            seconds=seconds,
            late_seconds=late_seconds,
            reason=reason,
            retry_after=b"retry-after" in headers,
            parts_ms=parts_of(headers.get(b"server-timing", b"").decode("latin-1")),
        )
    )
    return outcome


def _outcome(call: AnyCall, answer: RawAnswer, *, checked: bool) -> tuple[Outcome, str]:
    if answer.status == _REFUSED:
        return "refused", ""
    if answer.status >= 300:
        return "failed", str(answer.status)
    if checked:
        try:
            call.read(answer.body)
        except ValueError:
            return "failed", "the body is not what this route answers"
    return "ok", ""
