"""HTTP load over connections that stay open: an open loop that sends by a schedule, and a closed loop.

In the open loop a request is sent when its time has come, whether or not earlier requests were answered. Its latency
counts from the time that the schedule gave it, so a wait in the service, or in this process, is part of it. A closed
loop hides such waits (coordinated omission): each client sends only after its last answer.

The client sends raw bytes and parses answers with httptools. A general HTTP client needs more processor time for a
request than the service needs to answer it, and both share a machine.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode, urlsplit

import httptools

from llmemb.client.calls import Call

AnyCall = Call[Any]
MAX_LATE_SECONDS = 0.25
"""A request that would be sent later than this after its time is not sent: a backlog would never end the run."""
_IDLE_SECONDS = 3.0
"""A connection that was idle for longer is not used again: the service closes it after five seconds."""
_REFUSED = 429
_REFUSED_PAUSE_SECONDS = 0.1


class Exchange(NamedTuple):
    """A request that was sent, and its answer."""

    call: AnyCall
    status: int
    """0: the connection failed, or no answer came in time."""
    headers: dict[bytes, bytes]
    """Of the answer, by names in lower case."""
    body: bytes
    error: str
    """Class of the exception where there is no answer, else empty."""
    seconds: float
    """From the time the request was due until its answer was complete."""
    late_seconds: float
    """The part of `seconds` before it was sent."""


_Answer = tuple[int, dict[bytes, bytes], bytes]
"""Status, headers and body."""
Record = Callable[[Exchange], object]
"""Takes each exchange when it ends."""


@dataclass(slots=True)
class Unsent:
    """Requests of a schedule that were not sent."""

    dropped: int = 0
    """As many were in flight as allowed."""
    missed: int = 0
    """This process was too late: it lacks the processor time for such a rate."""


class Connections:
    """A pool of connections to one service, for one event loop; a request takes an idle one or opens another.

    Args:
        url: of the service, `http` with a port.
        api_key: sent with each request; None: none is sent.
        timeout_seconds: for connecting, and for an answer.

    Raises:
        OSError: the host name cannot be resolved.
    """

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        # Resolved once: a query for each connection would load the name server too.
        found = socket.getaddrinfo(address.hostname, address.port, type=socket.SOCK_STREAM)
        self._place = found[0][4][:2]
        self._head = f"Host: {address.netloc}\r\n"
        if api_key is not None:
            self._head += f"Authorization: Bearer {api_key}\r\n"
        self._timeout_seconds = timeout_seconds
        self._idle: deque[_Connection] = deque()

    async def exchange(self, call: AnyCall, due: float) -> Exchange:
        """Send a request now and wait for its answer.

        Args:
            call: what is sent.
            due: when it was to be sent, by `time.perf_counter`.
        """
        sent = time.perf_counter()
        answer: _Answer = 0, {}, b""
        error = ""
        connection: _Connection | None = None
        try:
            connection = self._take_idle() or await self._connect()
            answer = await connection.exchange(self._request_bytes(call), self._timeout_seconds)
        except OSError as failed:  # TimeoutError is one
            error = type(failed).__name__
        if connection is not None and connection.open:
            self._idle.append(connection)
        return Exchange(call, *answer, error, time.perf_counter() - due, sent - due)

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()  # the most recently used, so that the service can close the others
            if connection.open and time.monotonic() - connection.used < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        async with asyncio.timeout(self._timeout_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._place)
        return connection

    def _request_bytes(self, call: AnyCall) -> bytes:
        query = f"?{urlencode(call.params, quote_via=quote)}" if call.params else ""
        head = f"{call.method} {call.path}{query} HTTP/1.1\r\n{self._head}"
        if call.body is None:
            return f"{head}\r\n".encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n\r\n".encode() + call.body


async def open_loop(
    connections: Connections,
    requests: Iterator[AnyCall],
    *,
    per_second: float,
    seconds: float,
    max_in_flight: int,
    record: Record,
    unsent: Unsent,
) -> None:
    """Send requests at a constant rate; returns when the last one is answered.

    Args:
        connections: carry them.
        requests: endless; the next one is taken when it is sent.
        per_second: the rate.
        seconds: how long requests are sent.
        max_in_flight: a request due while as many are in flight is dropped.
        record: takes each exchange.
        unsent: counts the requests that are not sent.
    """
    begun = time.perf_counter()
    in_flight: set[asyncio.Task[None]] = set()

    async def send(call: AnyCall, due: float) -> None:
        record(await connections.exchange(call, due))

    async with asyncio.TaskGroup() as tasks:
        for number in range(max(1, round(per_second * seconds))):
            due = begun + number / per_second
            # Without a wait too: answers are read meanwhile.
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() - due > MAX_LATE_SECONDS:
                unsent.missed += 1
            elif len(in_flight) >= max_in_flight:
                unsent.dropped += 1
            else:
                sending = tasks.create_task(send(next(requests), due))
                in_flight.add(sending)
                sending.add_done_callback(in_flight.discard)


async def closed_loop(
    connections: Connections, requests: Iterator[AnyCall], *, clients: int, seconds: float, record: Record
) -> None:
    """Let so many clients send for so long, each its next request after its last answer.

    A client that gets a 429 pauses, since refusals take processor time from what is measured.
    """
    end = time.perf_counter() + seconds

    async def send() -> None:
        while (now := time.perf_counter()) < end:
            exchange = await connections.exchange(next(requests), now)
            record(exchange)
            if exchange.status == _REFUSED:
                await asyncio.sleep(_REFUSED_PAUSE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(send())


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self.used = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[_Answer] | None = None

    async def exchange(self, request: bytes, timeout_seconds: float) -> _Answer:
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._answer = self._loop.create_future()
        # Cheaper than `asyncio.timeout`, which a lean client notices.
        timer = self._loop.call_later(timeout_seconds, self._fail, TimeoutError("no answer in time"))
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:  # an answer that comes later must not be taken for that of another request
            self.close()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(exc or ConnectionResetError("the connection was closed before the answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.used = time.monotonic()
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
