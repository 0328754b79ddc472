"""A client's connection, with timeouts for reading and writing and a limit on the size of a request's head."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llmemb_service.settings import Settings


class Deadline:
    """Calls `passed` with the timeout in seconds when it expires, unless another one was set before.

    Setting a later deadline does not reschedule the timer, which would be slow. Instead, a timer that fires too early
    schedules the next one.

    Args:
        loop: the event loop that is running.
        passed: called when the deadline passes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[float], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._seconds: float | None = None
        self._at = 0.0  # in the loop's time; meaningless if `_seconds` is None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float | None) -> None:
        """Set the deadline to `seconds` from now; None removes it."""
        self._seconds = seconds
        if seconds is None:
            return
        self._at = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._at:
            self._schedule()

    def end(self) -> None:
        """Remove the deadline and cancel the timer, so that nothing keeps this object alive."""
        self._seconds = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._at, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._seconds is None:
            return
        if self._loop.time() < self._at:
            self._schedule()
        else:
            self._passed(self._seconds)


MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of a request's head, and of other bytes between two parts of bodies, such as trailers."""
LAST_REQUEST_SECONDS = 0.5
"""How long an idle connection stays open when the service stops, because the client may have just sent a request."""


def connections(settings: Settings) -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn's option `http`."""
    bounds = _Bounds(
        settings.max_connections,
        settings.headers_timeout_seconds,
        settings.body_timeout_seconds,
        settings.keep_alive_seconds,
    )
    # uvicorn only calls it, so a partial will do for a class.
    return cast("type[asyncio.Protocol]", partial(Connection, bounds=bounds))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The limits and the state that all connections share."""

    max_connections: int
    head_seconds: float
    body_seconds: float
    keep_alive_seconds: float
    waiting: dict["Connection", None] = field(default_factory=dict)
    """Connections that wait for a request's head, the one that has waited longest first."""


class Connection(HttpToolsProtocol):
    """A connection with timeouts. Above `max_connections`, the one that has waited longest for a request is closed.

    No timeout runs while the service computes an answer.
    """

    def __init__(self, *, bounds: _Bounds, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        # uvicorn closes a connection on which nothing came for this long after an answer. Its own setting is an int.
        self.timeout_keep_alive = bounds.keep_alive_seconds  # type: ignore[assignment]
        self._bounds = bounds
        self._request_complete = True
        self._head_bytes = 0
        self._deadline = Deadline(self.loop, self._close)
        self._stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Register the connection; above the limit, close another one."""
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self._bounds.max_connections:
            longest = next(iter(self._bounds.waiting))  # this connection if no other is waiting
            del self._bounds.waiting[longest]
            longest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self._deadline.end()
        self._bounds.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, and refuse a head that is too large."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Start the timeout of the head: its first byte has arrived."""
        super().on_message_begin()
        self._deadline.set(self._bounds.head_seconds)

    def on_headers_complete(self) -> None:
        """Stop the timeout: the head is complete, and the app has its own timeout for the body."""
        self._head_bytes = 0
        self._request_complete = False
        self._deadline.set(None)
        self._bounds.waiting.pop(self, None)
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of the body."""
        self._head_bytes = 0
        self._request_complete = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the timeout in which the client must read the answer and finish sending its request."""
        super().on_response_complete()
        if not self._answering():
            self._bounds.waiting[self] = None
            self._deadline.set(self._bounds.body_seconds)

    def pause_writing(self) -> None:
        """Start the timeout of a client that reads its answer slower than it is written."""
        super().pause_writing()
        self._deadline.set(self._bounds.body_seconds)

    def shutdown(self) -> None:
        """Close after the current request, or after one that the client may have just sent."""
        self._stopping = True
        if self._answering():
            super().shutdown()
        else:
            self.loop.call_later(LAST_REQUEST_SECONDS, super().shutdown)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _kept_alive(self) -> bool:
        """Return whether the connection waits for its next request, of which no byte has come, and nothing else."""
        written = self.transport.get_write_buffer_size() == 0
        return written and self._request_complete and self.timeout_keep_alive_task is not None

    def _wait_for_head(self) -> None:
        self._bounds.waiting[self] = None
        self._deadline.set(self._bounds.head_seconds)

    def _close(self, seconds: float) -> None:
        if (self._answering() and not self.flow.write_paused) or self._kept_alive():
            self._deadline.set(seconds)
        else:
            self.transport.abort()
