"""Requests of a run summed up by route, and checked against thresholds."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from llmemb.client import ApiError, BusyError, ClientError
from tests.load.config import Thresholds
from tests.load.http_load import AnyCall, Exchange

Outcome = Literal["ok", "refused", "gone", "failed"]
"""`refused`: 429; `gone`: it named an item that its shop has removed since, which is no fault of the service."""
PARTS = ("total", "queue", "tokenise", "encode", "rank")
"""Of `Server-Timing`."""
_GONE = frozenset({"item_not_found", "unknown_item", "session_not_found"})
_TEMPLATES = tuple(
    (re.compile(pattern), template)
    for pattern, template in (
        (r"/items/[^/]+/similar", "/items/{item_id}/similar"),
        (r"/items/[^/]+", "/items/{item_id}"),
        (r"/sessions/[^/]+/events", "/sessions/{session_id}/events"),
        (r"/sessions/[^/]+", "/sessions/{session_id}"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One request and its outcome."""

    route: str
    outcome: Outcome
    seconds: float
    late_seconds: float = 0.0
    """The part of `seconds` before it was sent, where it was due earlier."""
    reason: str = ""
    """Of a failure: status and code, or what happened to the connection."""
    retry_after: bool = False
    """Whether a refusal has `Retry-After`."""
    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """`Server-Timing`: part -> milliseconds."""


def route_of(call: AnyCall) -> str:
    """Return method and path template as the API's description and the metrics have them: `GET /items/{item_id}`."""
    template = next((template for pattern, template in _TEMPLATES if pattern.fullmatch(call.path)), call.path)
    return f"{call.method} {template}"


def outcome_of(error: ClientError | None, *, may_be_gone: bool) -> tuple[Outcome, str]:
    """Return the outcome of a request by the client, and the reason of a failure.

    Args:
        error: of the client; None: there was none.
        may_be_gone: whether the request named something that others may have removed.
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


def measurement_of(exchange: Exchange, *, read: bool) -> Measurement:
    """Return the measurement of a raw exchange.

    Args:
        exchange: of `http_load`.
        read: whether a good answer is parsed as the client parses it.
    """
    outcome: Outcome = "ok"
    reason = ""
    if exchange.status == 429:
        outcome = "refused"
    elif not 200 <= exchange.status < 300:
        outcome, reason = "failed", exchange.error or str(exchange.status)
    elif read:
        try:
            exchange.call.read(exchange.body)
        except ValueError:
            outcome, reason = "failed", "the body is not what this route answers"
    return Measurement(
        route=route_of(exchange.call),
        outcome=outcome,
        seconds=exchange.seconds,
        late_seconds=exchange.late_seconds,
        reason=reason,
        retry_after=b"retry-after" in exchange.headers,
        parts_ms=parts_of(exchange.headers.get(b"server-timing", b"").decode("latin-1")),
    )


def parts_of(server_timing: str) -> dict[str, float]:
    """Read the header `Server-Timing`, such as `total;dur=1.04, rank;dur=0.41`; entries of another form are skipped."""
    parts = {}
    for entry in server_timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        try:
            parts[name] = float(duration)
        except ValueError:
            continue
    return parts


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Latency(_Figures):
    """Of good answers, in milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Part(_Figures):
    """Of the answers that report it, in milliseconds."""

    answers: int
    median: float
    p99: float


class RouteFigures(_Figures):
    """One route."""

    requests: int
    ok: int
    refused: int
    """429."""
    refused_with_retry_after: int
    gone: int
    """They named an item that its shop had removed."""
    failed: int
    latency_ms: Latency | None
    """None without a good answer."""
    p99_from_sending_ms: float | None
    """The same, without the time by which this process sent late."""
    parts_ms: dict[str, Part]


class Figures(_Figures):
    """All routes of a run or of a phase."""

    seconds: float
    routes: dict[str, RouteFigures]
    failures: dict[str, int]
    """Route and reason -> how many."""

    def count(self, outcome: Outcome) -> int:
        """Return how many requests have this outcome."""
        return sum(int(getattr(route, outcome)) for route in self.routes.values())

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(route.requests for route in self.routes.values())


class Measurements:
    """Collects measurements; rate and duration of a run, or its number of requests, bound how many."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._sent_seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._parts: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._counts: Counter[tuple[str, Outcome]] = Counter()
        self._with_retry_after: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, measurement: Measurement) -> None:
        """Add one."""
        route = measurement.route
        self._counts[route, measurement.outcome] += 1
        if measurement.outcome == "refused":
            self._with_retry_after[route] += measurement.retry_after
        elif measurement.outcome == "failed":
            self._failures[f"{route}: {measurement.reason}"] += 1
        elif measurement.outcome == "ok":
            self._seconds[route].append(measurement.seconds)
            self._sent_seconds[route].append(measurement.seconds - measurement.late_seconds)
            for part in PARTS:
                if part in measurement.parts_ms:
                    self._parts[route][part].append(measurement.parts_ms[part])

    def figures(self, seconds: float) -> Figures:
        """Sum them up, over a run of so many seconds."""
        routes = sorted({route for route, _ in self._counts})
        return Figures(
            seconds=seconds,
            routes={route: self._route(route) for route in routes},
            failures=dict(self._failures.most_common()),
        )

    def _route(self, route: str) -> RouteFigures:
        ok, refused, gone, failed = (self._counts[route, kind] for kind in ("ok", "refused", "gone", "failed"))
        parts = self._parts[route]
        return RouteFigures(
            requests=ok + refused + gone + failed,
            ok=ok,
            refused=refused,
            refused_with_retry_after=self._with_retry_after[route],
            gone=gone,
            failed=failed,
            latency_ms=_latency(self._seconds[route]) if ok else None,
            p99_from_sending_ms=percentile(sorted(self._sent_seconds[route]), 99) * 1000 if ok else None,
            parts_ms={part: _part(parts[part]) for part in PARTS if part in parts},
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of a sorted sequence, which must not be empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _latency(seconds: Sequence[float]) -> Latency:
    ordered = sorted(second * 1000 for second in seconds)
    p50, p90, p95, p99 = (percentile(ordered, percent) for percent in (50, 90, 95, 99))
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, max=ordered[-1])


def _part(milliseconds: Sequence[float]) -> Part:
    ordered = sorted(milliseconds)
    return Part(answers=len(ordered), median=percentile(ordered, 50), p99=percentile(ordered, 99))


def breaches(figures: Figures, thresholds: Thresholds) -> list[str]:
    """Return a sentence for each threshold that was exceeded; empty: the run is good."""
    if not figures.requests:
        return ["nothing was asked"]
    found = []
    bounds: tuple[tuple[Outcome, float], ...] = (
        ("failed", thresholds.failed_share),
        ("refused", thresholds.refused_share),
    )
    for outcome, bound in bounds:
        share = figures.count(outcome) / figures.requests
        if share > bound:
            found.append(f"{share:.4%} of the requests {outcome}, at most {bound:.4%} may")
    for route, bound_ms in thresholds.p99_ms.items():
        figure = figures.routes.get(route)
        if figure is None or figure.latency_ms is None:
            found.append(f"{route} was not answered once")
        elif figure.latency_ms.p99 > bound_ms:
            found.append(f"{route}: the p99 is {figure.latency_ms.p99:.0f} ms, at most {bound_ms:.0f} ms may be")
    return found
