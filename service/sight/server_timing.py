"""The parts of a request's time, for its `Server-Timing` header: queue, tokenise, encode, rank."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_parts: ContextVar[dict[str, float] | None] = ContextVar("server_timing", default=None)


@contextmanager
def collecting() -> Iterator[dict[str, float]]:
    """Collect what is recorded in this block: part -> seconds."""
    parts: dict[str, float] = {}
    token = _parts.set(parts)
    try:
        yield parts
    finally:
        _parts.reset(token)


def record(part: str, seconds: float) -> None:
    """Add to a part of the request that is being answered; outside of one nothing happens."""
    parts = _parts.get()
    if parts is not None:
        parts[part] = parts.get(part, 0.0) + seconds


def header(parts: dict[str, float]) -> str:
    """Return the header's value; durations are in milliseconds."""
    return ", ".join(f"{part};dur={seconds * 1000:.2f}" for part, seconds in parts.items())
