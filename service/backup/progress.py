"""A line on standard error that says how far a long backup or restore has come."""

import sys
import time

_SECONDS = 2.0


class Progress:
    """Says it every two seconds, so that a short one says nothing."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS

    def tell(self, what: str, done: int, total: int | None = None) -> None:
        """Say how many there are, if it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            of = "" if total is None else f" of {total}"
            sys.stderr.write(f"{what}: {done}{of}\n")
            sys.stderr.flush()
