"""A deadline that is moved several times a request, at next to no cost."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `passed` with the seconds that were given, when these are over and no others have been set since.

    A timer is not moved with it: it looks, when its own time has come, whether the deadline is still to come.

    Args:
        loop: the event loop that is running.
        passed: what to call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[float], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._seconds: float | None = None
        self._at = 0.0  # by the loop's time; of no meaning without seconds
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float | None) -> None:
        """Let it pass after so long; None: never."""
        self._seconds = seconds
        if seconds is None:
            return
        self._at = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._at:
            self._look_later()

    def end(self) -> None:
        """Let it never pass, and keep nothing alive."""
        self._seconds = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._seconds is None:
            return
        if self._loop.time() < self._at:
            self._look_later()
        else:
            self._passed(self._seconds)
