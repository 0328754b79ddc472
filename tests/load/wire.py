"""The client's calls over connections that are kept open, as cheap as can be.

A general client takes longer for a request than the service for its answer, so it cannot send more than the service can
hold from the same machine. What is sent and how it is read is the client's own (`llmemb.client.calls`).
"""

import asyncio
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

import httptools

from tests.load.steps import AnyCall

IDLE_SECONDS = 3.0
"""After it a connection is not used again: the service closes its own after five."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came."""

    status: int
    headers: dict[bytes, bytes]
    """By names in small letters."""
    body: bytes


class Wire:
    """Connections to one service; used within one event loop.

    Args:
        url: of the service.
        api_key: where it asks for one.
        timeout_seconds: for a connection and an answer.

    Raises:
        OSError: the host's name is not known.
    """

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        # Looked up once: a look-up for each connection would load the name server too.
        found = socket.getaddrinfo(address.hostname, address.port, type=socket.SOCK_STREAM)
        self._place = found[0][4][:2]
        self._head = f"Host: {address.netloc}\r\n"
        if api_key is not None:
            self._head += f"Authorization: Bearer {api_key}\r\n"
        self._timeout_seconds = timeout_seconds
        self._idle: deque[_Connection] = deque()

    async def exchange(self, call: AnyCall) -> RawAnswer:
        """Send a call and wait for its answer; several at a time go over as many connections.

        Raises:
            OSError: there is no connection, it broke, or the answer took too long.
        """
        async with asyncio.timeout(self._timeout_seconds):
            connection = self._free() or await self._connect()
            try:
                answer = await connection.exchange(self._request(call))
            except BaseException:
                connection.close()
                raise
        if connection.open:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def _free(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()  # the one used last, so that the others may be closed
            if connection.open and time.monotonic() - connection.used < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._place)
        return connection

    def _request(self, call: AnyCall) -> bytes:
        query = f"?{urlencode(call.params, quote_via=quote)}" if call.params else ""
        head = f"{call.method} {call.path}{query} HTTP/1.1\r\n{self._head}"
        if call.body is None:
            return f"{head}\r\n".encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n\r\n".encode() + call.body


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self.used = 0.0
        self._answer: asyncio.Future[RawAnswer] | None = None

    async def exchange(self, request: bytes) -> RawAnswer:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no class of asyncio.
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(ConnectionError(f"no HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._failed(exc or ConnectionResetError("the connection was closed before the answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.used = time.monotonic()
        self.open = self.open and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(RawAnswer(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _failed(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
