"""How many recommendations run at once; whoever comes past that is refused before anything else is done for it.

One event loop does the work around a recommendation, and under too much load requests would wait for that loop, where
no queue of ours sees them. So the bound is here, outside of the app: a refusal costs a small part of an answer, and who
was let in waits for few others.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import OverloadedError
from service.http.headers import header
from service.http.problem_handlers import error_response
from service.http.request_middleware import REQUEST_ID_HEADER, request_id_for
from service.http.security_headers import with_security_headers
from service.sight.metrics import Metrics

PATHS = frozenset({"/recommend", "/recommend/batch"})
_LOG_SECONDS = 1.0
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_NO_ID = "00000000-0000-0000-0000-000000000000"

logger = logging.getLogger(__name__)


class Admission:
    """Lets at most `max_running` requests for recommendations into `app`, and all others.

    A request runs from when its body is there, so those whose bodies come slowly keep nobody out.

    Args:
        app: the service.
        refusal: answers those that are not let in.
        max_running: of all `PATHS` together. A batch counts as one: the rank queue bounds what it holds.
    """

    def __init__(self, app: ASGIApp, refusal: ASGIApp, max_running: int) -> None:
        self._app = app
        self._refusal = refusal
        self._max_running = max_running
        self.running = 0
        """Requests for recommendations that are under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
        elif self.running < self._max_running:
            await self._let_in(scope, receive, send)
        else:
            await self._refusal(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        runs = False

        async def receive_and_count() -> Message:
            nonlocal runs
            message = await receive()
            if not runs and not message.get("more_body", False):
                runs = True
                self.running += 1
            return message

        try:
            await self._app(scope, receive_and_count, send)
        finally:
            self.running -= runs


class Refusal:
    """Answers 429 to a request of which nothing but the head was read; counts it, and logs at most a line a second.

    All but the request's id is made beforehand: under ten times the load that can be answered, refusals are most of
    what there is to do.

    Args:
        metrics: of the service.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._requests = {path: metrics.requests.labels("POST", path, "429") for path in PATHS}
        self._problems = metrics.problems.labels(OverloadedError.code)
        error = OverloadedError("too many recommendations run; try again in 1 s")
        response = error_response(error, _NO_ID)
        self._status = response.status_code
        self._headers = with_security_headers(response.raw_headers)
        self._before, self._after = bytes(response.body).split(_NO_ID.encode())
        self._refused = 0
        self._log_at = 0.0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        request_id = request_id_for(header(scope, _REQUEST_ID)).encode()
        headers = [*self._headers, (_REQUEST_ID, request_id)]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._before + request_id + self._after})
        self._requests[scope["path"]].inc()
        self._problems.inc()
        self._log()

    def _log(self) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._log_at:
            logger.warning("%d recommendations were refused since the last such line: too many run", self._refused)
            self._refused, self._log_at = 0, now + _LOG_SECONDS
