"""What is told of a request when it is over: to the metrics, the log and the traces. Nothing of its content."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedRequest:
    """One request and its answer.

    Attributes:
        request_id: a UUID.
        method: one of HTTP's, or "other".
        route: the template of its path, such as `/items/{item_id}`; "unmatched" where no route was reached.
        status: of the answer; 499 where the client did not wait, 0 where the service stopped before it answered.
        started_ns: when it came, nanoseconds since 1970.
        seconds: from then to the answer's end.
        parts: seconds by the names of `Server-Timing`.
        num_bytes: of the answer's body.
        key_name: what its API key is called; None without one.
        bundle_id: the bundle that answered; None where none did.
        problem: the code of the problem that was the answer; None where it was none.
        trace_headers: the W3C trace context that it brought.
    """

    request_id: str
    method: str
    route: str
    status: int
    started_ns: int
    seconds: float
    parts: Mapping[str, float]
    num_bytes: int
    key_name: str | None
    bundle_id: str | None
    problem: str | None
    trace_headers: Mapping[str, str]
