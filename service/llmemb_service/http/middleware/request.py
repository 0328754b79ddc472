"""The outer middleware of every request: id, timing, observers, common headers, and 500 for unhandled exceptions.

This is plain ASGI, because Starlette's `BaseHTTPMiddleware` would hide a client's disconnect from the route.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmemb_service.guard.keys import ApiKey
from llmemb_service.http.middleware.headers import header, with_security_headers
from llmemb_service.observability.logs import ServedRequest, collecting_parts, request_id_of, server_timing_header
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import problem_response

REQUEST_ID_HEADER = "X-Request-Id"
CLIENT_GONE = 499
"""The status in logs and metrics of a request whose client disconnected; no client sees it."""

Observer = Callable[[ServedRequest], None]

_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_SERVER_TIMING = b"server-timing"
_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives a request its id, measures its time, calls the observers, and answers 500 for unhandled exceptions."""

    def __init__(self, app: ASGIApp, metrics: Metrics, observers: Sequence[Observer]) -> None:
        self.app = app
        self.observers = observers
        self._in_flight = 0
        metrics.active_requests.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
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
                raise  # part of the answer is sent; the client can only see the failure if the connection closes
            detail = f"internal error; the service's log has details under the request id {answer.request_id}"
            await problem_response("internal", detail, answer.request_id)(scope, receive, answer.send)


class _Answer:
    """Sends the answer to one request, adds the common headers, and records its status and size."""

    def __init__(self, send: Send, state: Mapping[str, Any], parts: dict[str, float]) -> None:
        self.request_id: str = state["request_id"]
        self._state = state
        self.status = 0  # until the answer begins
        self._send = send
        self._parts = parts
        self._num_bytes = 0
        self._started_ns = time.time_ns()
        self._started = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send an ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            timing = server_timing_header({"total": self._seconds(), **self._parts})
            headers = with_security_headers(message.get("headers", ()))
            # No inner middleware or route sets these two.
            headers += ((_REQUEST_ID, self.request_id.encode()), (_SERVER_TIMING, timing.encode()))
            headers += self._state.get("answer_headers", ())  # the rate limit's, also on a 500
            message["headers"] = headers
        elif message["type"] == "http.response.body":
            self._num_bytes += len(message.get("body", b""))
        await self._send(message)

    def served(self, scope: Scope) -> ServedRequest:
        """Return the summary of the finished request for the observers."""
        state = scope["state"]
        key: ApiKey | None = state.get("api_key")
        return ServedRequest(
            request_id=self.request_id,
            # Only the route's template and known methods: arbitrary text from clients must not become a label.
            method=scope["method"] if scope["method"] in _METHODS else "_OTHER",
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
    # `path_format` is the path without converters, as in the OpenAPI description.
    template: str = getattr(route, "path_format", "unmatched")
    return template


def request_id_for(sent: str | None) -> str:
    """Return the client's own request id if it is a UUID, else a new one."""
    try:
        return str(uuid.uuid4() if sent is None else uuid.UUID(sent))
    except ValueError:
        return str(uuid.uuid4())
