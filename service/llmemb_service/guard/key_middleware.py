"""Check the API key of each request before its body is read."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llmemb.errors import LlmembError
from llmemb_service.errors import ForbiddenError, UnauthorizedError
from llmemb_service.guard.access import Open, allows, needed_access
from llmemb_service.guard.keys import ApiKey, KeyRing
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import error_response

KEY_HEADER = "X-API-Key"

_MAX_KEY_CHARACTERS = 512
"""A longer text is not a key of the service and is not hashed."""


class KeyMiddleware:
    """Refuses requests without a key of the required role; inner layers find the key in `scope["state"]["api_key"]`."""

    def __init__(self, app: ASGIApp, keys: KeyRing, metrics: Metrics) -> None:
        self.app = app
        self.keys = keys
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request as an ASGI app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        app = self.app if refusal is None else error_response(refusal, scope["state"]["request_id"])
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> LlmembError | None:
        access = needed_access(scope["method"], scope["path"])
        if access is Open.ANYONE:
            return None
        presented = _presented_key(Headers(scope=scope))
        if presented is None:
            self.metrics.auth_failures.labels("missing").inc()
            return UnauthorizedError(f"send an API key, as `Authorization: Bearer KEY` or as `{KEY_HEADER}: KEY`")
        key: ApiKey | None = self.keys.find(presented) if len(presented) <= _MAX_KEY_CHARACTERS else None
        if key is None:
            self.metrics.auth_failures.labels("unknown").inc()
            return UnauthorizedError("the API key is unknown")
        scope["state"]["api_key"] = key
        if not allows(key.roles, access):
            self.metrics.auth_failures.labels("role").inc()
            return ForbiddenError(f"the API key {key.name!r} lacks the role {access.value!r}")
        return None


def _presented_key(headers: Headers) -> str | None:
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get(KEY_HEADER) or None
