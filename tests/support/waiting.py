"""Waiting for what must happen, as long as it takes and no longer."""

import time
from collections.abc import Callable

import httpx2

DEADLINE_SECONDS = 60
"""How long a test waits for what must happen: long, since it only passes when the test fails."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and fail with `what` when it does not come about."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s in vain: {what}"
        time.sleep(0.01)


def wait_for_encoder(url: str) -> None:
    """Wait until a service's encoder has started; what else may not work is nothing to this."""
    wait_until(lambda: httpx2.get(f"{url}/readyz").json()["checks"]["encoder"] != "is starting", "the encoder starts")
