"""Which methods a path takes: Starlette's 405 names those of one route, and a path here has a route for each method."""

from starlette.requests import Request
from starlette.routing import BaseRoute, Match

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_OF_FILES = ["GET", "HEAD"]


def allowed_methods(request: Request) -> str:
    """Return the header `Allow` of the 405 for a request: the methods by which some route takes its path."""
    routes: list[BaseRoute] = request.app.routes
    allowed = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    # The mount of the docs' files refuses methods itself, after it has made the path its own.
    return ", ".join(allowed or _OF_FILES)
