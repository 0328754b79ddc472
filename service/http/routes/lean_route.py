"""Routing beside FastAPI's: a short way for small bodies that come often, and paths whose item ids stay encoded."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, get_args
from urllib.parse import unquote

from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmemb.errors import LlmembError
from service.http.middleware.headers import header
from service.problems import problem_of

_PREFIX = b"/items/"

ItemId = Annotated[
    str, Path(description="The item's id, percent-encoded: a slash in it is `%2F`."), AfterValidator(unquote)
]


class ItemPathMiddleware:
    """Leaves the paths of items encoded."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "http" and scope["raw_path"].startswith(_PREFIX):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self.app(scope, receive, send)


JSON = "application/json"
_TYPE = (b"content-type", JSON.encode())


class JsonResponse(Response):
    """What `Response(body, media_type=JSON)` would be, made in a quarter of the time."""

    media_type = JSON

    def __init__(self, body: bytes) -> None:  # not Starlette's own, which goes through headers that are not there
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _TYPE]


class LeanMiddleware:
    """Calls a route's `endpoint(body=..., request=...)`, which has no other parameters and returns a `Response`.

    FastAPI's way to a route, through its routers, exit stacks and dependencies, takes longer than a recommendation. A
    body that pydantic can read as it came needs none of that. Any other goes FastAPI's way, so faults are found and
    told as on every other route, and the description is FastAPI's own.

    Args:
        app: FastAPI's way.
        router: has the routes, each a POST.
    """

    def __init__(self, app: ASGIApp, router: APIRouter) -> None:
        self.app = app
        self._routes = {route.path: _Lean(route) for route in router.routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None or header(scope, b"content-type") != JSON:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            content = await _body(receive)
            try:
                body = route.model.model_validate_json(content)
            except ValidationError:
                await self.app(scope, _again(content, receive), send)
                return
            scope["route"] = route.route  # what the log and the metrics call it
            response = await route.endpoint(body=body, request=request)
        except (LlmembError, HTTPException) as error:
            response = problem_of(request, error)
        await response(scope, receive, send)


class _Lean:
    """A route, and what is called without it."""

    def __init__(self, route: APIRoute) -> None:
        self.route = route
        self.endpoint: Callable[..., Coroutine[Any, Any, Response]] = route.endpoint
        annotation = route.endpoint.__annotations__["body"]
        self.model: type[BaseModel] = next(iter(get_args(annotation)), annotation)


async def _body(receive: Receive) -> bytes:
    """Read a body to its end.

    Raises:
        ClientDisconnect: the client has gone before.
    """
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    raise ClientDisconnect


def _again(content: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
