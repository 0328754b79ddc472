"""Refuses requests over the rate limit, by API key, or by address where there are no keys."""

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RateLimitedError
from service.guard.access import UNLIMITED_PATHS
from service.guard.api_keys import ApiKey
from service.guard.rate_limiter import RateLimiter, whole_seconds
from service.http.problem_handlers import error_response
from service.sight.metrics import Metrics

NO_KEY = "none"
"""How the metrics call a caller without a key."""


class RateMiddleware:
    """Answers 429 past `limit_per_minute`, or past the key's own limit; None is no limit."""

    def __init__(self, app: ASGIApp, limit_per_minute: int | None, limiter: RateLimiter, metrics: Metrics) -> None:
        self.app = app
        self.limit_per_minute = limit_per_minute
        self.limiter = limiter
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self.app(scope, receive, send)
            return
        key: ApiKey | None = scope["state"].get("api_key")
        own_limit = None if key is None else key.rate_limit_per_minute
        limit = self.limit_per_minute if own_limit is None else own_limit
        caller = f"address {_network(scope)}" if key is None else f"key {key.name}"
        wait = None if limit is None else self.limiter.take(caller, limit)
        if wait is None:
            await self.app(scope, receive, send)
            return
        self.metrics.rate_limited.labels(NO_KEY if key is None else key.name).inc()
        error = RateLimitedError(f"at most {limit} requests a minute are answered", whole_seconds(wait))
        await error_response(error, scope["state"]["request_id"])(scope, receive, send)


def _network(scope: Scope) -> str:
    """The client's address; of IPv6 the first 64 bits, since one client has all the rest."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)  # a Unix socket, or a name
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
