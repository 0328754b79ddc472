"""A body that is too long, or does not come, is not waited for."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.headers import header
from service.http.problems import problem_response

_CLOSE = {"Connection": "close"}
"""What is left of the body is not read, so the connection is of no more use."""


class BodyLimitMiddleware:
    """Refuses a body over `max_body_bytes`, and one that is not there after `timeout_seconds`.

    A length that is stated is refused at once, another as soon as the body has grown too long.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_seconds: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = header(scope, b"content-length") or ""
        if stated.isdecimal() and int(stated[:20]) > self.max_body_bytes:
            detail = f"the body has {stated[:20]} bytes, the service takes {self.max_body_bytes}"
            response = problem_response("body_too_large", detail, scope["state"]["request_id"], headers=_CLOSE)
            await response(scope, receive, send)
            return
        await self.app(scope, _Body(receive, self.max_body_bytes, self.timeout_seconds).receive, send)


class _Body:
    """One request's body as it comes.

    FastAPI lets an `HTTPException` out of the reading of a body, and the handlers make it a problem.
    """

    def __init__(self, receive: Receive, max_body_bytes: int, timeout_seconds: float) -> None:
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._ends_at = asyncio.get_running_loop().time() + timeout_seconds
        self._num_bytes = 0
        self._complete = False

    async def receive(self) -> Message:
        """Return the next message, as ASGI has it."""
        if self._complete:
            return await self._receive()  # what comes now is that the client goes, and that may take any time
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
