"""When a call is sent again, and after what wait."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from llmemb.client.calls import Repeat
from llmemb.client.errors import ApiError, BusyError

_UNAVAILABLE = 503
_NOT_BEGUN = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Failures before anything was sent."""
_LASTING = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
"""Failures that the next attempt would have too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """How a client goes on after a failure that may pass.

    Each wait is drawn between 0 and a bound that doubles from one attempt to the next, so that clients which failed
    together do not come back together. Where the service says `Retry-After`, that time is waited first.
    """

    max_retries: int = 5
    """Attempts after the first; 0: none."""
    deadline_seconds: float = 60.0
    """From the first attempt on; no attempt begins after it."""
    first_wait_seconds: float = 0.1
    """The bound of the first wait."""
    longest_wait_seconds: float = 10.0
    """The bound of every wait, what `Retry-After` adds aside."""
    seed: int | None = None
    """Draws the same waits again, for tests; None: others each time."""

    def __post_init__(self) -> None:
        for name in ("max_retries", "deadline_seconds", "first_wait_seconds", "longest_wait_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0")


DEFAULT_RETRYING = Retrying()
NO_RETRIES = Retrying(max_retries=0)
"""Every failure is raised at once."""


class Retrier:
    """Counts the attempts of a client's calls.

    Args:
        retrying: the bounds.
        clock: seconds that only grow, for the deadline.
    """

    def __init__(self, retrying: Retrying, clock: Callable[[], float]) -> None:
        self._retrying = retrying
        self._clock = clock
        self._drawing = random.Random(retrying.seed)  # noqa: S311  # of waits, not of secrets

    def attempts(self, repeat: Repeat) -> "Attempts":
        """Begin the first attempt at a call."""
        return Attempts(self._retrying, repeat, self._clock, self._drawing)


class Attempts:
    """The attempts at one call."""

    def __init__(self, retrying: Retrying, repeat: Repeat, clock: Callable[[], float], drawing: random.Random) -> None:
        self._retrying = retrying
        self._repeat = repeat
        self._clock = clock
        self._drawing = drawing
        self._begun = clock()
        self._retries = 0

    def wait_after_problem(self, problem: ApiError) -> float | None:
        """Return the seconds to wait before the next attempt; None: there is to be none."""
        if isinstance(problem, BusyError):
            repeated = self._repeat is not Repeat.NEVER
        else:
            # Not after a 504: the same work would take as long.
            repeated = self._repeat is Repeat.ALWAYS and problem.status == _UNAVAILABLE
        return self._wait(problem.retry_after_seconds or 0.0) if repeated else None

    def wait_after_failure(self, error: httpx2.RequestError) -> float | None:
        """Return the same after an attempt that got no answer."""
        if isinstance(error, _LASTING):
            return None
        refused = self._repeat is Repeat.IF_REFUSED and isinstance(error, _NOT_BEGUN)
        return self._wait(0.0) if refused or self._repeat is Repeat.ALWAYS else None

    def _wait(self, asked_seconds: float) -> float | None:
        if self._retries == self._retrying.max_retries:
            return None
        bound = min(self._retrying.first_wait_seconds * 2.0**self._retries, self._retrying.longest_wait_seconds)
        seconds = asked_seconds + self._drawing.uniform(0.0, bound)
        if self._clock() - self._begun + seconds > self._retrying.deadline_seconds:
            return None
        self._retries += 1
        return seconds
