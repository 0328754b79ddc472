"""One client's connection: what it sends comes in time and in bounded size, and what it is sent is taken in time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.settings import Settings


class Deadline:
    """Calls `passed` with the seconds that were given, when these are over and no others have been set since.

    A timer is not moved with it: it looks, when its own time has come, whether the deadline is still to come.

    Args:
        loop: the event loop that is running.
        passed: what to call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[float], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._seconds: float | None = None
        self._at = 0.0  # by the loop's time; of no meaning without seconds
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float | None) -> None:
        """Let it pass after so long; None: never."""
        self._seconds = seconds
        if seconds is None:
            return
        self._at = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._at:
            self._look_later()

    def end(self) -> None:
        """Let it never pass, and keep nothing alive."""
        self._seconds = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._seconds is None:
            return
        if self._loop.time() < self._at:
            self._look_later()
        else:
            self._passed(self._seconds)


class WholeAnswer:
    """Stands before a connection while one request is answered, and holds the head back until something follows it.

    ASGI asks a server to, and uvicorn does not: it sends head and body by a call of the system each, and the first
    wakes a client that finds no more than the head. Here is what uvicorn's `RequestResponseCycle` asks of a connection.

    Args:
        transport: the connection.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold back what is the head."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines((head, data))
        elif self._begun or data.startswith(b"HTTP/1.1 100 "):
            self._transport.write(data)
        else:
            self._begun = True
            self._head = data

    def is_closing(self) -> bool:
        """Say whether the connection closes."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection when all is sent."""
        if self._head is not None:
            self.write(b"")
        self._transport.close()


MAX_HEAD_BYTES = 64 * 1024
"""Of a request's head; also of what else comes between two bytes of bodies, such as trailers."""
LAST_REQUEST_SECONDS = 0.5
"""How long a connection without a request stays open when the service stops: one may be on its way."""


def connections(settings: Settings) -> type[asyncio.Protocol]:
    """Return what uvicorn makes a connection with."""
    bounds = _Bounds(settings.max_connections, settings.head_timeout_seconds, settings.body_timeout_seconds)
    # uvicorn calls it, and asks no more of it.
    return cast("type[asyncio.Protocol]", partial(Connection, bounds=bounds))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What all connections share."""

    max_connections: int
    head_seconds: float
    body_seconds: float
    waiting: dict["Connection", None] = field(default_factory=dict)
    """Connections that wait for a request's head, the one that has waited for the longest time first."""


class Connection(HttpToolsProtocol):
    """A connection that is closed where its client is late; past `max_connections` those that only wait go first.

    While an answer is being made nothing is asked of the client.
    """

    def __init__(self, *, bounds: _Bounds, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._bounds = bounds
        self._head_bytes = 0
        self._deadline = Deadline(self.loop, self._close)
        self._stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection's place, if need be that of another one."""
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self._bounds.max_connections:
            longest = next(iter(self._bounds.waiting))  # this one, where no other waits
            del self._bounds.waiting[longest]
            longest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place up."""
        self._deadline.end()
        self._bounds.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and no head that is too large."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins to come."""
        super().on_message_begin()
        self._deadline.set(self._bounds.head_seconds)

    def on_headers_complete(self) -> None:
        """The head is there; the app waits for the body as long as it sees fit."""
        self._head_bytes = 0
        self._deadline.set(None)
        self._bounds.waiting.pop(self, None)
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is made: the client must take it, send what is left of its request, and begin the next one."""
        super().on_response_complete()
        if not self._answering():
            self._wait_for_head()
            self._deadline.set(self._bounds.body_seconds)

    def pause_writing(self) -> None:
        """The client does not take its answer as quickly as it is made."""
        super().pause_writing()
        self._deadline.set(self._bounds.body_seconds)

    def shutdown(self) -> None:
        """Close after the request that is being answered, or after one that is on its way."""
        self._stopping = True
        if self._answering():
            super().shutdown()
        else:
            self.loop.call_later(LAST_REQUEST_SECONDS, super().shutdown)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["method"] != "HEAD":  # whose answers have no body that the head could wait for
            cycle.transport = cast("asyncio.Transport", WholeAnswer(self.transport))
        super()._start_asgi_task(cycle, app)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._bounds.waiting[self] = None
        self._deadline.set(self._bounds.head_seconds)

    def _close(self, seconds: float) -> None:
        if self._answering() and not self.flow.write_paused:
            self._deadline.set(seconds)
        else:
            self.transport.abort()
