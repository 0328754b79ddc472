"""The time of day as the machine's clock had it when the process began, and from then on without that clock's jumps.

What is written with it outlives the process, so it counts from 1970. It says until when something is kept, and a clock
that is set back or ahead meanwhile changes nothing of that. The next process begins with the clock as it is then.
"""

import time

_BEGAN = time.time() - time.monotonic()


def now() -> float:
    """Return the seconds since 1970."""
    return _BEGAN + time.monotonic()
