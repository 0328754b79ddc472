"""Rate limits: a sliding window of one minute for each API key, or for each address if there are no keys."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache
from starlette.types import ASGIApp, Receive, Scope, Send

from llmemb_service.client_address import TrustedProxies
from llmemb_service.errors import RateLimitedError
from llmemb_service.guard.access import UNLIMITED_PATHS
from llmemb_service.guard.keys import ApiKey
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import error_response

WINDOW_SECONDS = 60.0
MAX_CALLERS = 50_000
"""Maximum number of callers in memory, about 10 MB; the least recently seen is evicted."""
ROUNDING = 1e-6
"""Fraction of a request, far above the rounding error of floats. It ensures that a client that waits exactly for
`Retry-After` is not refused again."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A caller's quota after a request."""

    limit: int
    """Maximum number of requests per minute."""
    remaining: int
    """Requests that the caller can send now."""
    reset_seconds: float
    """After an accepted request: the time until the whole limit is available, without further requests. After a refused
    one: the time until a request is accepted."""
    exceeded: bool
    """Whether the request was over the limit; if so, it was not counted."""


@dataclass(slots=True)
class _Window:
    number: int
    count: int
    previous: int


class RateLimiter:
    """Counts the requests of each caller."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_callers: int = MAX_CALLERS) -> None:
        self._clock = clock
        self._windows: LRUCache[str, _Window] = LRUCache(max_callers)

    def count(self, caller: str, limit: int) -> Quota:
        """Count one request of `caller`, unless that would exceed `limit` requests per minute."""
        number, elapsed = divmod(self._clock(), WINDOW_SECONDS)
        window = self._window(caller, int(number))
        available = limit - window.count
        before = window.previous * (1 - elapsed / WINDOW_SECONDS)
        # Rounded up: the last request is accepted when less than one request of the previous minute still counts.
        remaining = max(0, min(available, math.ceil(available - before + ROUNDING)))
        if remaining == 0:
            return Quota(limit, 0, _wait(window, limit, elapsed), exceeded=True)
        window.count += 1
        return Quota(limit, remaining - 1, _until_whole(window, elapsed), exceeded=False)

    def _window(self, caller: str, number: int) -> _Window:
        window = self._windows.get(caller)
        if window is None:
            window = self._windows[caller] = _Window(number, 0, 0)
        elif window.number != number:
            window.previous = window.count if window.number == number - 1 else 0
            window.number, window.count = number, 0
        return window


def _wait(window: _Window, limit: int, elapsed: float) -> float:
    """Return the seconds until one more request is accepted, without further requests."""
    available = limit - window.count
    if available > 0:
        # In this minute, when enough requests of the previous one no longer count.
        return (1 - available / window.previous) * WINDOW_SECONDS - elapsed
    # In the next minute, when enough requests of this one no longer count.
    return WINDOW_SECONDS - elapsed + (1 - limit / window.count) * WINDOW_SECONDS


def _until_whole(window: _Window, elapsed: float) -> float:
    """Return the seconds until the whole limit is available: less than one request of this minute still counts."""
    return WINDOW_SECONDS - elapsed + (1 - 1 / window.count) * WINDOW_SECONDS


def whole_seconds(wait: float) -> int:
    """Return the value of `Retry-After` and `RateLimit-Reset`: the next whole second after the wait."""
    return math.floor(wait) + 1


NO_KEY = "none"
"""Value of the metrics' label for a caller without a key."""
LIMIT_HEADER = "RateLimit-Limit"
REMAINING_HEADER = "RateLimit-Remaining"
RESET_HEADER = "RateLimit-Reset"


class RateMiddleware:
    """Answers 429 above `limit_per_minute`, or above the key's own limit; None means no limit."""

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
        """Handle one request as an ASGI app."""
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
        quota = self.limiter.count(caller, limit)
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
        error = RateLimitedError(f"the rate limit of {limit} requests per minute is exceeded", reset_seconds)
        await error_response(error, scope["state"]["request_id"])(scope, receive, send)
