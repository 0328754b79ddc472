"""What became of one request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmemb.client import ApiError, BusyError, ClientError

Outcome = Literal["ok", "refused", "gone", "failed"]
"""`refused`: 429; `gone`: it named an item that its shop has taken away since, which is no fault of the service."""

_GONE = frozenset({"item_not_found", "unknown_item", "session_not_found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One request and its end."""

    route: str
    outcome: Outcome
    seconds: float
    late_seconds: float = 0.0
    """Of `seconds`, those before it was sent, where it was meant to be sent earlier."""
    reason: str = ""
    """Of a failure: status and code, or what happened to the connection."""
    retry_after: bool = False
    """Whether a refusal says when to come again."""
    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """`Server-Timing`: part -> milliseconds."""


def outcome_of(error: ClientError | None, *, may_be_gone: bool) -> tuple[Outcome, str]:
    """Return what a request came to, and of a failure the reason to report it by.

    Args:
        error: of the client; None: it was answered well.
        may_be_gone: it named what somebody else may have taken away.
    """
    if error is None:
        return "ok", ""
    if isinstance(error, BusyError):
        return "refused", ""
    if not isinstance(error, ApiError):
        cause = error.__cause__
        return "failed", type(error).__name__ if cause is None else f"{type(error).__name__}: {type(cause).__name__}"
    if may_be_gone and error.code in _GONE:
        return "gone", ""
    return "failed", f"{error.status} {error.code}"


def parts_of(server_timing: str) -> dict[str, float]:
    """Read the header `Server-Timing`, such as `total;dur=1.04, rank;dur=0.41`; what is no part is passed over."""
    parts = {}
    for entry in server_timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        try:
            parts[name] = float(duration)
        except ValueError:
            continue
    return parts
