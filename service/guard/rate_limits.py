"""Rate limits: a sliding window of one minute for each API key, or address where there are no keys."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache
from starlette.types import ASGIApp, Receive, Scope, Send

from service.client_address import TrustedProxies
from service.errors import RateLimitedError
from service.guard.access import UNLIMITED_PATHS
from service.guard.keys import ApiKey
from service.observability.metrics import Metrics
from service.problems import error_response

WINDOW_SECONDS = 60.0
MAX_CALLERS = 50_000
"""Callers that are remembered, about 10 MB; the one that has not asked for the longest time is forgotten first."""
ROUNDING = 1e-6
"""Of a request, far above what floats lose on the way: who waits exactly as told is never told to wait again."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller has left after a request."""

    limit: int
    """Requests a minute."""
    remaining: int
    """Requests that would pass now."""
    reset_seconds: float
    """After a request that passed: until the whole limit is there again, if nothing else comes. After one that did
    not: until the next one passes."""
    exceeded: bool
    """The request was over the limit, and was not counted."""


@dataclass(slots=True)
class _Window:
    number: int
    count: int
    previous: int


class RateLimiter:
    """Counts requests by caller."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_callers: int = MAX_CALLERS) -> None:
        self._clock = clock
        self._windows: LRUCache[str, _Window] = LRUCache(max_callers)

    def take(self, caller: str, limit: int) -> Quota:
        """Count one request of `caller`, unless it would be over `limit` a minute."""
        number, elapsed = divmod(self._clock(), WINDOW_SECONDS)
        window = self._window(caller, int(number))
        room = limit - window.count
        before = window.previous * (1 - elapsed / WINDOW_SECONDS)
        # The last one passes while less than a whole request of the minute before is in its place.
        remaining = max(0, min(room, math.ceil(room - before + ROUNDING)))
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
    """Return the seconds until there is room for one more, if nothing else comes."""
    room = limit - window.count
    if room > 0:
        # In this minute, when enough of the one before has slid out.
        return (1 - room / window.previous) * WINDOW_SECONDS - elapsed
    # In the next one, where this minute's count slides out.
    return WINDOW_SECONDS - elapsed + (1 - limit / window.count) * WINDOW_SECONDS


def _until_whole(window: _Window, elapsed: float) -> float:
    """Return the seconds until the whole limit is there again: less than one request of this minute counts."""
    return WINDOW_SECONDS - elapsed + (1 - 1 / window.count) * WINDOW_SECONDS


def whole_seconds(wait: float) -> int:
    """Return the value of `Retry-After` and `RateLimit-Reset`: the next whole second after the wait."""
    return math.floor(wait) + 1


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
