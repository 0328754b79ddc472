"""Limits: the maximum request body, compressed or not, and the maximum number of concurrent recommendations."""

import asyncio
import logging
import time
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmemb_service.errors import OverloadedError
from llmemb_service.http.middleware.headers import header, with_security_headers
from llmemb_service.http.middleware.request import REQUEST_ID_HEADER, request_id_for
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import error_response, problem_of, problem_response

_CLOSE = {"Connection": "close"}
"""The rest of the body is not read, so the connection cannot be reused."""


class BodyLimitMiddleware:
    """Refuses a body over `max_body_bytes`, and one that is not complete after `timeout_seconds`.

    A `Content-Length` over the limit is refused at once, a body without one as soon as it exceeds the limit. A body
    with `Content-Encoding: gzip` is decompressed, and the limit holds for it before and after; other encodings are
    refused.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_seconds: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = header(scope, b"content-length") or ""
        if stated.isdecimal() and int(stated[:20]) > self.max_body_bytes:
            detail = f"the body has {stated[:20]} bytes; the maximum is {self.max_body_bytes}"
            response = problem_response("body_too_large", detail, scope["state"]["request_id"], headers=_CLOSE)
            await response(scope, receive, send)
            return
        body = _Body(receive, self.max_body_bytes, self.timeout_seconds)
        encoding = header(scope, b"content-encoding")
        if encoding is None or encoding.lower() == "identity":
            await self.app(scope, body.receive, send)
        elif encoding.lower() not in _GZIP:
            detail = (
                f"the Content-Encoding {encoding[:_SHOWN]!r} is not supported; send the body as gzip or without one"
            )
            headers = {"Accept-Encoding": "gzip", **_CLOSE}
            response = problem_response("unsupported_encoding", detail, scope["state"]["request_id"], headers=headers)
            await response(scope, receive, send)
        else:
            await self._decompress(scope, body, send)

    async def _decompress(self, scope: Scope, body: "_Body", send: Send) -> None:
        """Call the app with the decompressed body; answer if that is not possible."""
        request_id = scope["state"]["request_id"]
        try:
            content = await asyncio.to_thread(gunzip, await read_body(body.receive), self.max_body_bytes)
        except HTTPException as error:
            response = problem_of(Request(scope), error)
        except OverflowError:
            detail = f"the body has more than {self.max_body_bytes} bytes after decompression, which is the maximum"
            response = problem_response("body_too_large", detail, request_id)
        except ValueError as error:
            detail = f"the body has the Content-Encoding gzip, but {error}"
            response = problem_response("invalid_json", detail, request_id)
        else:
            await self.app(scope, replaying(content, body.receive), send)
            return
        await response(scope, body.receive, send)


_GZIP = ("gzip", "x-gzip")
_SHOWN = 40
"""Characters of an unknown encoding in the answer."""
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""zlib's code for a gzip header."""


def gunzip(compressed: bytes, max_bytes: int) -> bytes:
    """Decompress a gzip member; never allocates more than `max_bytes` and one for the result.

    Raises:
        OverflowError: the result has more than `max_bytes`.
        ValueError: the data are not one whole gzip member.
    """
    member = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content: bytes = member.decompress(compressed, max_bytes + 1)
    except zlib.error:
        raise ValueError("it is not gzip data") from None
    if len(content) > max_bytes:
        raise OverflowError
    if not member.eof:
        raise ValueError("its gzip data end too early")
    if member.unused_data:
        raise ValueError("something follows its gzip data")
    return content


async def read_body(receive: Receive) -> bytes:
    """Read a body to its end.

    Raises:
        ClientDisconnect: the client has disconnected before the end of the body.
    """
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    raise ClientDisconnect


def replaying(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that replays a body, then continues with the original one."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


class _Body:
    """Reads one request's body.

    FastAPI passes on an `HTTPException` that is raised while it reads a body, and the handlers make it a problem.
    """

    def __init__(self, receive: Receive, max_body_bytes: int, timeout_seconds: float) -> None:
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._ends_at = asyncio.get_running_loop().time() + timeout_seconds
        self._num_bytes = 0
        self._complete = False

    async def receive(self) -> Message:
        """Return the next ASGI message.

        Raises:
            HTTPException: 408 if the body is late, 413 if it is too large.
        """
        if self._complete:
            return await self._receive()  # the next message is the disconnect, for which there is no timeout
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, headers=_CLOSE) from None
        self._complete = not message.get("more_body", False)
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > self._max_body_bytes:
            raise HTTPException(413, headers=_CLOSE)
        return message


PATHS = frozenset({"/recommend", "/recommend/batch"})
_LOG_SECONDS = 1.0
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_NO_ID = "00000000-0000-0000-0000-000000000000"

logger = logging.getLogger(__name__)


class ConcurrencyLimit:
    """Runs at most `max_running` requests for recommendations at a time; other paths have no limit.

    A request counts from the end of its body, so slow uploads do not block others.

    Args:
        app: the service.
        refusal: answers the requests above the limit.
        max_running: maximum for all `PATHS` together. A batch counts as one; the rank queue limits its requests.
    """

    def __init__(self, app: ASGIApp, refusal: ASGIApp, max_running: int) -> None:
        self._app = app
        self._refusal = refusal
        self._max_running = max_running
        self.running = 0
        """Number of running requests for recommendations."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http" or scope["path"] not in PATHS:
            await self._app(scope, receive, send)
        elif self.running < self._max_running:
            await self._run(scope, receive, send)
        else:
            await self._refusal(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
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
    """Answers 429 without reading the body, counts the request, and logs at most one line per second.

    Everything except the request's id is prepared in the constructor: at ten times the maximum load, most of the work
    is refusals.

    Args:
        metrics: of the service.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._durations = {path: metrics.request_duration.labels("POST", path, "429") for path in PATHS}
        self._problems = metrics.problems.labels(OverloadedError.code)
        error = OverloadedError("too many concurrent recommendations; try again in 1 s")
        response = error_response(error, _NO_ID)
        self._status = response.status_code
        self._headers = with_security_headers(response.raw_headers)
        self._before, self._after = bytes(response.body).split(_NO_ID.encode())
        self._refused = 0
        self._log_at = 0.0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        started = time.perf_counter()
        request_id = request_id_for(header(scope, _REQUEST_ID)).encode()
        headers = [*self._headers, (_REQUEST_ID, request_id)]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._before + request_id + self._after})
        self._durations[scope["path"]].observe(time.perf_counter() - started)
        self._problems.inc()
        self._log()

    def _log(self) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._log_at:
            logger.warning("%d recommendations refused by the concurrency limit since the last warning", self._refused)
            self._refused, self._log_at = 0, now + _LOG_SECONDS
