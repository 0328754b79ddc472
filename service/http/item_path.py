"""Item ids in paths: percent-encoded they are one segment, slashes and all.

Servers decode a path before it is routed, and then `/items/a%2Fsimilar` would be the path of another route. Below
`/items/` routes therefore see the path as it was sent, and `ItemId` decodes the id.
"""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

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
