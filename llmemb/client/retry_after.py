"""The header `Retry-After`, in both of its forms."""

import math
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to be left alone, at least 0; None where it does not say so.

    A date is compared with the answer's own `Date`, so that the two clocks need not agree.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    until = _timestamp(value)
    if until is None:
        return None
    now = _timestamp(headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _timestamp(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # HTTP dates are in UTC, whether or not they say it in a way that Python reads.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
