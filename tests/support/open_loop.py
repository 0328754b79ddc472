"""Requests at a constant rate, whether they are answered or not: what waits for its turn counts as time taken."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.waiting import DEADLINE_SECONDS


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: which of those that were given, and what became of it."""

    request: int
    seconds: float
    """From when it was due to its answer's last byte."""
    status: int
    """0 where the connection broke."""
    says_when: bool
    """Whether it has `Retry-After`."""
    body: bytes


@dataclass(eq=False)
class _Connection(asyncio.Protocol):
    """Has one request under way at most."""

    idle: list["_Connection"]
    transport: asyncio.Transport = field(init=False)
    answer: asyncio.Future[bytes] = field(init=False)
    received: bytearray = field(default_factory=bytearray)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self.answer = asyncio.get_running_loop().create_future()
        self.received.clear()
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head) and not self.answer.done():
            self.answer.set_result(bytes(self.received))
            self.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.idle:
            self.idle.remove(self)
        if hasattr(self, "answer") and not self.answer.done():
            self.answer.set_exception(ConnectionError("the connection was lost"))


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def arrive(url: str, requests: Sequence[bytes], *, per_second: float, seconds: float) -> list[Arrival]:
    """Send the requests round and round at this rate, each over a connection that is free, or another one."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    idle: list[_Connection] = []
    opened: list[_Connection] = []

    async def one(number: int, due: float) -> Arrival:
        request = number % len(requests)
        try:
            if idle:
                connection = idle.pop()
            else:
                _, connection = await loop.create_connection(lambda: _Connection(idle), address.hostname, address.port)
                opened.append(connection)
            answer = await asyncio.wait_for(connection.ask(requests[request]), DEADLINE_SECONDS)
        except (OSError, TimeoutError):
            return Arrival(request, time.perf_counter() - due, 0, False, b"")
        head, _, body = answer.partition(b"\r\n\r\n")
        return Arrival(
            request, time.perf_counter() - due, int(head.split()[1]), b"\nretry-after:" in head.lower(), body
        )

    began = time.perf_counter()
    tasks = []
    for number in range(int(per_second * seconds)):
        due = began + number / per_second
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number, due)))
        if number % 20 == 0:
            await asyncio.sleep(0)  # so that answers are read also when it is late
    arrivals = list(await asyncio.gather(*tasks))
    for connection in opened:
        connection.transport.close()
    return arrivals


async def one_after_another(url: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> list[float]:
    """Keep so many connections busy for so long; the seconds of each request."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    ends = time.perf_counter() + seconds
    taken: list[float] = []

    async def keep_on() -> None:
        _, connection = await loop.create_connection(lambda: _Connection([]), address.hostname, address.port)
        while (began := time.perf_counter()) < ends:
            await asyncio.wait_for(connection.ask(requests[len(taken) % len(requests)]), DEADLINE_SECONDS)
            taken.append(time.perf_counter() - began)
        connection.transport.close()

    await asyncio.gather(*(keep_on() for _ in range(connections)))
    return taken
