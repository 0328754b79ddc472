"""Requests by the clock, against small servers over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from llmemb.client import calls
from tests.load.figures import RouteFigures
from tests.load.open_loop import MOST_LATE_SECONDS, Arrivals, arrive, saturate
from tests.load.steps import AnyCall
from tests.load.wire import Wire

HEALTH = b'{"status": "alive"}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Load = Callable[[Wire], Awaitable[Arrivals]]
TIMEOUT_SECONDS = 30.0


def answer(status: str, body: bytes, *headers: bytes) -> bytes:
    head = b"".join(b"%s\r\n" % header for header in headers)
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status.encode(), head, len(body), body)


def serving(reply: Callable[[], Awaitable[bytes]]) -> Serve:
    """Answer each request with what `reply` gives, over connections that stay open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(await reply())
        except asyncio.IncompleteReadError:
            writer.close()

    return serve


@asynccontextmanager
async def wire_to(serve: Serve) -> AsyncIterator[Wire]:
    """A wire to a server that ends, with all its connections, when the block does."""
    tasks: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await serve(reader, writer)
        await writer.wait_closed()

    async with await asyncio.start_server(kept, "127.0.0.1", 0) as server:
        wire = Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, TIMEOUT_SECONDS)
        yield wire
        wire.close()
        await asyncio.gather(*tasks)


async def against(serve: Serve, load: Load) -> Arrivals:
    """Put load on a server."""
    async with wire_to(serve) as wire:
        return await load(wire)


def by_clock(*, per_second: float, seconds: float, most_in_flight: int = 100) -> Load:
    """A load of `GET /healthz` at a constant rate."""

    async def load(wire: Wire) -> Arrivals:
        arrivals = Arrivals()
        await arrive(
            wire,
            calls.health,
            per_second=per_second,
            seconds=seconds,
            most_in_flight=most_in_flight,
            arrivals=arrivals,
        )
        return arrivals

    return load


def figure(arrivals: Arrivals) -> RouteFigures:
    (route,) = arrivals.measurements.figures(1.0).routes.values()
    return route


def test_latency_counts_from_the_moment_that_was_meant() -> None:
    """A server that answers one at a time, slower than requests come: each waits longer than the one before.

    A closed loop over one connection sees the server's own time only.
    """
    service_seconds, number = 0.05, 20

    async def slow(load: Load) -> Arrivals:
        one_at_a_time = asyncio.Lock()

        async def reply() -> bytes:
            async with one_at_a_time:
                await asyncio.sleep(service_seconds)
            return answer("200 OK", HEALTH)

        return await against(serving(reply), load)

    opened = figure(uvloop.run(slow(by_clock(per_second=200, seconds=number / 200))))
    closed = figure(uvloop.run(slow(lambda wire: saturate(wire, calls.health, connections=1, seconds=0.5))))

    assert opened.ok == number
    assert opened.latency_ms is not None
    assert closed.latency_ms is not None
    # All came within 100 ms and the last was answered after 20 times 50 ms.
    assert opened.latency_ms.max >= (number * service_seconds - 0.1) * 1000
    assert opened.latency_ms.max > 5 * closed.latency_ms.p50


def test_a_wait_of_the_generator_itself_counts() -> None:
    """An event loop that was held up sends late; the requests whose time had come waited too."""

    made = 0

    async def load(wire: Wire) -> Arrivals:
        arrivals = Arrivals()

        def make() -> AnyCall:
            nonlocal made
            made += 1
            if made == 3:
                time.sleep(0.1)  # in which ten more are due
            if made == 15:
                time.sleep(2 * MOST_LATE_SECONDS)  # too long for half of those that are due in it
            return calls.health()

        await arrive(wire, make, per_second=100, seconds=1.0, most_in_flight=100, arrivals=arrivals)
        return arrivals

    async def reply() -> bytes:
        return answer("200 OK", HEALTH)

    arrivals = uvloop.run(against(serving(reply), load))

    assert max(arrivals.late_seconds) >= 0.09
    assert 20 <= arrivals.missed == 100 - figure(arrivals).ok
    latency = figure(arrivals).latency_ms
    assert latency is not None
    assert latency.max >= 90


def test_past_the_bound_arrivals_are_dropped_and_counted() -> None:
    """No more are in flight than may be; none is forgotten."""
    most, number = 4, 50
    in_flight: list[int] = []

    async def load() -> Arrivals:
        arrivals = Arrivals()
        waiting = 0

        async def reply() -> bytes:
            nonlocal waiting
            waiting += 1
            in_flight.append(waiting)
            while arrivals.dropped < number - most:  # noqa: ASYNC110  # a figure, not an event, is waited for
                await asyncio.sleep(0.01)
            waiting -= 1
            return answer("200 OK", HEALTH)

        async with wire_to(serving(reply)) as wire:
            await arrive(
                wire, calls.health, per_second=500, seconds=number / 500, most_in_flight=most, arrivals=arrivals
            )
        return arrivals

    arrivals = uvloop.run(load())

    assert max(in_flight) == most
    assert figure(arrivals).ok == most
    assert arrivals.dropped == number - most


@pytest.mark.parametrize(
    ("raw", "outcome", "reason"),
    [
        (answer("429 Too Many Requests", b"{}", b"Retry-After: 2"), "refused", ""),
        (answer("503 Service Unavailable", b"{}"), "failed", "503"),
        (answer("200 OK", b"[]"), "failed", "the body is not what this route answers"),
        (b"no HTTP at all\r\n\r\n", "failed", "ConnectionError"),
        (b"", "failed", "ConnectionResetError"),
    ],
)
def test_each_end_is_counted_as_what_it_is(raw: bytes, outcome: str, reason: str) -> None:
    """Refusals with their `Retry-After`, failures with a reason."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    arrivals = uvloop.run(against(serve, by_clock(per_second=100, seconds=0.01)))

    route = figure(arrivals)
    assert (route.requests, getattr(route, outcome)) == (1, 1)
    assert route.refused_with_retry_after == (outcome == "refused")
    assert list(arrivals.measurements.figures(1.0).failures) == ([f"GET /healthz: {reason}"] if reason else [])


def test_connections_are_used_again() -> None:
    """One after the other takes one connection; an answer in chunks is read to its end."""
    connections = 0

    async def reply() -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n" + HEALTH + b"\r\n0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await serving(reply)(reader, writer)

    arrivals = uvloop.run(against(serve, lambda wire: saturate(wire, calls.health, connections=1, seconds=0.1)))

    assert figure(arrivals).ok == len(arrivals.measurements) > 1
    assert connections == 1
