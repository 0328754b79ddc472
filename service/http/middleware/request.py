"""Around every request: its id, its time, what is told of it afterwards, and the answer to what nobody caught.

Every answer gets its headers here, so that it passes through one pair of hands on its way out.

Plain ASGI: Starlette's `BaseHTTPMiddleware` would hide from a route that its client has gone.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.guard.keys import ApiKey
from service.http.middleware.headers import header, with_security_headers
from service.observability.logs import ServedRequest, collecting_parts, request_id_of, server_timing_header
from service.observability.metrics import Metrics
from service.problems import problem_response

REQUEST_ID_HEADER = "X-Request-Id"
CLIENT_GONE = 499
"""The status that logs and metrics give to a request whose client did not wait; no client sees it."""

Observer = Callable[[ServedRequest], None]

_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_SERVER_TIMING = b"server-timing"
_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives a request its id, times it, tells the observers, and answers 500 where all else failed."""

    def __init__(self, app: ASGIApp, metrics: Metrics, observers: Sequence[Observer]) -> None:
        self.app = app
        self.observers = observers
        self._in_flight = 0
        metrics.requests_in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_for(header(scope, _REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = request_id
        with request_id_of(request_id), collecting_parts() as parts:
            answer = _Answer(send, scope["state"], parts)
            self._in_flight += 1
            try:
                await self._answer(scope, receive, answer)
            finally:
                self._in_flight -= 1
                served = answer.served(scope)
                for observe in self.observers:
                    observe(served)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = CLIENT_GONE
        except Exception:
            logger.exception("request %s failed", answer.request_id)
            if answer.status:
                raise  # half an answer is out; only closing the connection tells the client
            detail = f"the service failed; its log tells more under the request id {answer.request_id}"
            await problem_response("internal", detail, answer.request_id)(scope, receive, answer.send)


class _Answer:
    """What goes out for one request: passed on with its headers, and counted."""

    def __init__(self, send: Send, state: Mapping[str, Any], parts: dict[str, float]) -> None:
        self.request_id: str = state["request_id"]
        self._state = state
        self.status = 0  # until an answer has begun
        self._send = send
        self._parts = parts
        self._num_bytes = 0
        self._started_ns = time.time_ns()
        self._started = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Pass a message on, as ASGI has it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            timing = server_timing_header({"total": self._seconds(), **self._parts})
            headers = with_security_headers(message.get("headers", ()))
            # Nothing below sets these two.
            headers += ((_REQUEST_ID, self.request_id.encode()), (_SERVER_TIMING, timing.encode()))
            headers += self._state.get("answer_headers", ())  # the rate limit's, also on a 500
            message["headers"] = headers
        elif message["type"] == "http.response.body":
            self._num_bytes += len(message.get("body", b""))
        await self._send(message)

    def served(self, scope: Scope) -> ServedRequest:
        """Sum the request up, when it is over."""
        state = scope["state"]
        key: ApiKey | None = state.get("api_key")
        return ServedRequest(
            request_id=self.request_id,
            # The route's template and a known method: what a client makes up belongs into no label and no log.
            method=scope["method"] if scope["method"] in _METHODS else "other",
            route=_template(scope.get("route")),
            status=self.status,
            started_ns=self._started_ns,
            seconds=self._seconds(),
            parts=self._parts,
            num_bytes=self._num_bytes,
            key_name=None if key is None else key.name,
            bundle_id=state.get("bundle_id"),
            problem=state.get("problem"),
            trace_headers={
                name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE_HEADERS
            },
        )

    def _seconds(self) -> float:
        return time.perf_counter() - self._started


def _template(route: BaseRoute | None) -> str:
    # Without the converters of the path, as the API's description has it.
    template: str = getattr(route, "path_format", "unmatched")
    return template


def request_id_for(sent: str | None) -> str:
    """Return the client's own request id where it is a UUID, else a fresh one."""
    try:
        return str(uuid.uuid4() if sent is None else uuid.UUID(sent))
    except ValueError:
        return str(uuid.uuid4())
