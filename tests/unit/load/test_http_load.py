"""The open and the closed loop, against small servers over real sockets."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop

from llmemb.client import calls
from tests.load.figures import measurement_of
from tests.load.http_load import (
    MAX_LATE_SECONDS,
    AnyCall,
    Connections,
    Exchange,
    Unsent,
    closed_loop,
    open_loop,
)

HEALTH = b'{"status": "alive"}'
HEALTH_REQUESTS = itertools.repeat(calls.health())
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Run:
    """What a loop has recorded."""

    exchanges: list[Exchange] = field(default_factory=list)
    unsent: Unsent = field(default_factory=Unsent)

    async def by_schedule(
        self,
        serve: Serve,
        *,
        per_second: float,
        seconds: float,
        max_in_flight: int = 100,
        requests: Iterator[AnyCall] = HEALTH_REQUESTS,
    ) -> None:
        async with connections_to(serve) as connections:
            await open_loop(
                connections,
                requests,
                per_second=per_second,
                seconds=seconds,
                max_in_flight=max_in_flight,
                record=self.exchanges.append,
                unsent=self.unsent,
            )

    async def by_clients(self, serve: Serve, *, clients: int, seconds: float) -> None:
        async with connections_to(serve) as connections:
            await closed_loop(
                connections, HEALTH_REQUESTS, clients=clients, seconds=seconds, record=self.exchanges.append
            )

    @property
    def statuses(self) -> Counter[int | str]:
        return Counter(exchange.error or exchange.status for exchange in self.exchanges)

    @property
    def seconds(self) -> list[float]:
        return sorted(each.seconds for each in self.exchanges)


def http(status: str, body: bytes, *headers: bytes) -> bytes:
    head = b"".join(b"%s\r\n" % header for header in headers)
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status.encode(), head, len(body), body)


async def healthy() -> bytes:
    return http("200 OK", HEALTH)


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
async def connections_to(serve: Serve, timeout_seconds: float = 30.0) -> AsyncIterator[Connections]:
    """Connections to a server that ends, with all its connections, when the block does."""
    tasks: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await serve(reader, writer)
        await writer.wait_closed()

    async with await asyncio.start_server(kept, "127.0.0.1", 0) as server:
        connections = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, timeout_seconds)
        yield connections
        connections.close()
        await asyncio.gather(*tasks)


def test_latency_counts_from_the_scheduled_time() -> None:
    """A server that answers one at a time, slower than requests come: each waits longer than the one before.

    A closed loop over one connection sees only the server's own time.
    """
    service_seconds, number = 0.05, 20
    scheduled, closed = Run(), Run()

    async def load() -> None:
        one_at_a_time = asyncio.Lock()

        async def reply() -> bytes:
            async with one_at_a_time:
                await asyncio.sleep(service_seconds)
            return await healthy()

        await scheduled.by_schedule(serving(reply), per_second=200, seconds=number / 200)
        await closed.by_clients(serving(reply), clients=1, seconds=0.5)

    uvloop.run(load())

    assert scheduled.statuses == {200: number}
    # All were sent within 100 ms, and the last was answered after 20 times 50 ms.
    assert scheduled.seconds[-1] >= number * service_seconds - 0.1
    assert scheduled.seconds[-1] > 5 * closed.seconds[len(closed.seconds) // 2]


def test_a_delay_of_the_sender_counts() -> None:
    """Requests that became due while the event loop was blocked are late; those that are too late are not sent."""
    run = Run()

    def blocking() -> Iterator[AnyCall]:
        for number in itertools.count(1):
            if number == 3:
                time.sleep(0.1)  # ten more become due
            if number == 15:
                time.sleep(2 * MAX_LATE_SECONDS)  # too long for half of those that become due
            yield calls.health()

    uvloop.run(run.by_schedule(serving(healthy), per_second=100, seconds=1.0, requests=blocking()))

    assert max(each.late_seconds for each in run.exchanges) >= 0.09
    assert all(each.seconds > each.late_seconds for each in run.exchanges)
    assert run.unsent.missed >= 20
    assert run.statuses == {200: 100 - run.unsent.missed}


def test_more_requests_than_may_be_in_flight_are_dropped_and_counted() -> None:
    """No more are in flight than allowed, and none is uncounted."""
    run, most, number = Run(), 4, 50
    in_flight: list[int] = []

    async def load() -> None:
        waiting = 0

        async def reply() -> bytes:
            nonlocal waiting
            waiting += 1
            in_flight.append(waiting)
            while run.unsent.dropped < number - most:  # noqa: ASYNC110  # waits for a figure, not an event
                await asyncio.sleep(0.01)
            waiting -= 1
            return await healthy()

        await run.by_schedule(serving(reply), per_second=500, seconds=number / 500, max_in_flight=most)

    uvloop.run(load())

    assert max(in_flight) == most
    assert run.statuses == {200: most}
    assert run.unsent.dropped == number - most


@pytest.mark.parametrize(
    ("raw", "outcome", "reason"),
    [
        (http("429 Too Many Requests", b"{}", b"Retry-After: 2"), "refused", ""),
        (http("503 Service Unavailable", b"{}"), "failed", "503"),
        (http("200 OK", b"[]"), "failed", "the body is not what this route answers"),
        (http("200 OK", HEALTH, b"Server-Timing: total;dur=1.5"), "ok", ""),
        (b"no HTTP at all\r\n\r\n", "failed", "ConnectionError"),
        (b"", "failed", "ConnectionResetError"),
    ],
)
def test_outcome_and_reason_of_each_answer(raw: bytes, outcome: str, reason: str) -> None:
    """Refusals with their `Retry-After`, failures with a reason, good answers with their `Server-Timing`."""
    run = Run()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    uvloop.run(run.by_schedule(serve, per_second=100, seconds=0.01))

    (exchange,) = run.exchanges
    measurement = measurement_of(exchange, read=True)
    assert (measurement.route, measurement.outcome, measurement.reason) == ("GET /healthz", outcome, reason)
    assert measurement.retry_after == (outcome == "refused")
    assert measurement.parts_ms == ({"total": 1.5} if outcome == "ok" else {})


def test_connections_are_reused() -> None:
    """One client takes one connection; an answer in chunks is read to its end."""
    run, connections = Run(), 0

    async def reply() -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n" + HEALTH + b"\r\n0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await serving(reply)(reader, writer)

    uvloop.run(run.by_clients(serve, clients=1, seconds=0.1))

    assert len(run.exchanges) > 1
    assert {exchange.body for exchange in run.exchanges} == {HEALTH}
    assert connections == 1


def test_request_without_an_answer_in_time_fails() -> None:
    """It counts with the time that it waited, and its connection is not used again."""
    exchanges: list[Exchange] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first request of each connection only."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(await healthy())
        await reader.read()
        writer.close()

    async def load() -> None:
        async with connections_to(serve, timeout_seconds=2.0) as connections:
            for _ in range(3):
                exchanges.append(await connections.exchange(calls.health(), time.perf_counter()))

    uvloop.run(load())

    assert [exchange.error or exchange.status for exchange in exchanges] == [200, "TimeoutError", 200]
    assert exchanges[1].seconds >= 1.9


def test_request_bytes_are_those_of_the_call() -> None:
    """Method, path, encoded query, key and body reach the server."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for length in (0, len(calls.recommend(["1"]).body or b"")):
            received.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(length))
            writer.write(await healthy())
        writer.close()

    async def load() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connections = Connections(f"http://{place}", "a-key", 30.0)
            for call in (calls.item_page(query="a b&c"), calls.recommend(["1"])):
                await connections.exchange(call, time.perf_counter())
            connections.close()
            head = f"Host: {place}\r\nAuthorization: Bearer a-key\r\n"
            assert received == [
                f"GET /items?query=a%20b%26c HTTP/1.1\r\n{head}\r\n".encode(),
                f"POST /recommend HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 17\r\n\r\n"
                '{"history":["1"]}'.encode(),
            ]

    uvloop.run(load())
