"""Refuses requests over the rate limit, by API key, or by the client's address where there are no keys.

Answers carry `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` as draft 6 of the IETF's
`draft-ietf-httpapi-ratelimit-headers` has them. Later drafts merge the three into one field whose form has changed with
almost every draft; the three are what GitLab, CircleCI, Kong and Envoy send and what clients read.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RateLimitedError
from service.guard.access import UNLIMITED_PATHS
from service.guard.api_keys import ApiKey
from service.guard.client_address import TrustedProxies
from service.guard.rate_limiter import RateLimiter, whole_seconds
from service.http.problem_handlers import error_response
from service.sight.metrics import Metrics

NO_KEY = "none"
"""The metrics' label for a caller without a key."""
LIMIT_HEADER = "RateLimit-Limit"
REMAINING_HEADER = "RateLimit-Remaining"
RESET_HEADER = "RateLimit-Reset"


class RateMiddleware:
    """Answers 429 past `limit_per_minute`, or past the key's own limit; None is no limit."""

    def __init__(
        self,
        app: ASGIApp,
        limit_per_minute: int | None,
        limiter: RateLimiter,
        trusted_proxies: TrustedProxies,
        metrics: Metrics,
    ) -> None:
        self.app = app
        self.limit_per_minute = limit_per_minute
        self.limiter = limiter
        self.trusted_proxies = trusted_proxies
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self.app(scope, receive, send)
            return
        key: ApiKey | None = scope["state"].get("api_key")
        own_limit = None if key is None else key.rate_limit_per_minute
        limit = self.limit_per_minute if own_limit is None else own_limit
        if limit is None:
            await self.app(scope, receive, send)
            return
        caller = f"address {self.trusted_proxies.client_of(scope)}" if key is None else f"key {key.name}"
        quota = self.limiter.take(caller, limit)
        reset_seconds = whole_seconds(quota.reset_seconds)
        scope["state"]["answer_headers"] = (
            (LIMIT_HEADER.lower().encode(), b"%d" % quota.limit),
            (REMAINING_HEADER.lower().encode(), b"%d" % quota.remaining),
            (RESET_HEADER.lower().encode(), b"%d" % reset_seconds),
        )
        if not quota.exceeded:
            await self.app(scope, receive, send)
            return
        self.metrics.rate_limited.labels(NO_KEY if key is None else key.name).inc()
        error = RateLimitedError(f"at most {limit} requests a minute are answered", reset_seconds)
        await error_response(error, scope["state"]["request_id"])(scope, receive, send)
