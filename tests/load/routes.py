"""The route of a call: its method and the template of its path, as the API's description and the metrics name it."""

import re

from tests.load.steps import AnyCall

_TEMPLATES = tuple(
    (re.compile(pattern), template)
    for pattern, template in (
        (r"/items/[^/]+/similar", "/items/{item_id}/similar"),
        (r"/items/[^/]+", "/items/{item_id}"),
        (r"/sessions/[^/]+/events", "/sessions/{session_id}/events"),
        (r"/sessions/[^/]+", "/sessions/{session_id}"),
    )
)


def route_of(call: AnyCall) -> str:
    """Return such as `GET /items/{item_id}`."""
    template = next((template for pattern, template in _TEMPLATES if pattern.fullmatch(call.path)), call.path)
    return f"{call.method} {template}"
