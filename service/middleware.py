"""Around every request: its id, its time, the limit on its body, and the answer to what nobody caught.

Plain ASGI: Starlette's `BaseHTTPMiddleware` would hide from a route that its client has gone.
"""

import logging
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics
from service.problems import problem_response

REQUEST_ID_HEADER = "X-Request-Id"
CLIENT_GONE = 499
"""The status that the metrics give to a request whose client did not wait; no client sees it."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives a request its id, counts and times it, and answers 500 where all else failed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0  # until an answer has begun

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        started = time.perf_counter()
        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            logger.exception("request %s failed", request_id)
            if status:
                raise  # half an answer is out; only closing the connection tells the client
            detail = f"the service failed; its log tells more under the request id {request_id}"
            await problem_response("internal", detail, request_id)(scope, receive, send_with_id)
        finally:
            self._observe(scope, status, time.perf_counter() - started)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template and a known method: what a client makes up must not become a label.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)


def _request_id(sent: str | None) -> str:
    """The client's own request id where it is a UUID, else a fresh one."""
    try:
        return str(uuid.UUID(sent)) if sent is not None else str(uuid.uuid4())
    except ValueError:
        return str(uuid.uuid4())


class BodyLimitMiddleware:
    """Refuses a body over `max_body_bytes`, by its stated length at once, else as soon as it has grown too long."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > self.max_body_bytes:
            detail = f"the body has {stated[:20]} bytes, the service takes {self.max_body_bytes}"
            response = problem_response("body_too_large", detail, scope["state"]["request_id"])
            await response(scope, receive, send)
            return
        await self.app(scope, _limited(receive, self.max_body_bytes), send)


def _limited(receive: Receive, max_body_bytes: int) -> Receive:
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_body_bytes:
            # FastAPI lets this one error out of the reading of a body, and the handlers make it a problem.
            raise HTTPException(413)
        return message

    return receive_limited
