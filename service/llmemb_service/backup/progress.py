"""Progress lines on standard error for a long backup or restore."""

import sys
import time

_SECONDS = 2.0


class Progress:
    """Writes a line every two seconds, so that a short operation writes none."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS

    def tell(self, what: str, done: int, total: int | None = None) -> None:
        """Write how many are done, if two seconds have passed."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            of = "" if total is None else f" of {total}"
            sys.stderr.write(f"{what}: {done}{of}\n")
            sys.stderr.flush()
