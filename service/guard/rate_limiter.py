"""How often a caller asked: a sliding window of one minute, kept as two counts.

The count of the minute before weighs by the share of it that the window still covers, so a caller never gets twice its
rate around the turn of a minute. The library `limits` has the same, but its memory has no bound, and each request may
start a thread that goes through all of it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

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
