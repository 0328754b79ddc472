"""Routing beside FastAPI's: a fast path for frequent requests, HEAD and OPTIONS, and item ids in paths."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, get_args
from urllib.parse import unquote

from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmemb.errors import LlmembError
from llmemb_service.http.middleware.headers import header
from llmemb_service.http.middleware.limits import read_body, replaying
from llmemb_service.problems import allowed_methods, problem_of

_PREFIX = b"/items/"

ItemId = Annotated[
    str, Path(description="The item's id, percent-encoded: a slash in it is `%2F`."), AfterValidator(unquote)
]


class ItemPathMiddleware:
    """Keeps the item ids in paths percent-encoded, so that they can contain slashes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] == "http" and scope["raw_path"].startswith(_PREFIX):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self.app(scope, receive, send)


class MethodsMiddleware:
    """Answers HEAD on every path that has GET, and OPTIONS on every path; FastAPI's routes have neither."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http" or scope["method"] not in ("HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif methods := allowed_methods(Request(scope)):
            await Response(status_code=204, headers={"Allow": methods})(scope, receive, send)
        else:
            await self.app(scope, receive, send)  # which answers 404

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as GET, with its Content-Length, but without the body."""

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_without_body)
        finally:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # names the route in the log and the metrics


JSON = "application/json"
_TYPE = (b"content-type", JSON.encode())


class JsonResponse(Response):
    """Equal to `Response(body, media_type=JSON)`, but created in a quarter of the time."""

    media_type = JSON

    def __init__(self, body: bytes) -> None:  # does not call Starlette's, which processes optional headers
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _TYPE]


class LeanMiddleware:
    """Calls a route's `endpoint(body=..., request=...)`, which has no other parameters and returns a `Response`.

    FastAPI's routers, exit stacks and dependencies take longer than a recommendation. A JSON body that pydantic
    validates needs none of them. FastAPI handles all other requests, so that faults are reported as on every other
    route, and it describes the routes.

    Args:
        app: the next ASGI app, which leads to FastAPI's router.
        router: has the routes, each a POST.
    """

    def __init__(self, app: ASGIApp, router: APIRouter) -> None:
        self.app = app
        self._routes = {route.path: _Lean(route) for route in router.routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None or header(scope, b"content-type") != JSON:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            content = await read_body(receive)
            try:
                body = route.model.model_validate_json(content)
            except ValidationError:
                await self.app(scope, replaying(content, receive), send)
                return
            scope["route"] = route.route  # names the route in the log and the metrics
            response = await route.endpoint(body=body, request=request)
        except (LlmembError, HTTPException) as error:
            response = problem_of(request, error)
        await response(scope, receive, send)


class _Lean:
    """A route, and the parts of it that are called directly."""

    def __init__(self, route: APIRoute) -> None:
        self.route = route
        self.endpoint: Callable[..., Coroutine[Any, Any, Response]] = route.endpoint
        annotation = route.endpoint.__annotations__["body"]
        self.model: type[BaseModel] = next(iter(get_args(annotation)), annotation)
