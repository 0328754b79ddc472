"""Requests summed up by route: how many, what became of them, how long they took, and where the time went."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tests.load.measurement import Measurement, Outcome

PARTS = ("total", "queue", "tokenise", "encode", "rank")
"""Of `Server-Timing`."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Latency(_Figures):
    """Of what was answered well, in milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Part(_Figures):
    """Of the answers that tell of it, in milliseconds."""

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
    """They named an item that its shop had taken away."""
    failed: int
    latency_ms: Latency | None
    """None where nothing was answered well."""
    p99_from_sending_ms: float | None
    """The same without the time by which the load itself was late."""
    parts_ms: dict[str, Part]


class Figures(_Figures):
    """All routes of a run, or of a part of it."""

    seconds: float
    routes: dict[str, RouteFigures]
    failures: dict[str, int]
    """Route and reason -> how many."""

    def count(self, outcome: Outcome) -> int:
        """Return how many requests came to it."""
        return sum(int(getattr(route, outcome)) for route in self.routes.values())

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(route.requests for route in self.routes.values())


class Measurements:
    """Takes measurements one by one; whoever sends bounds how many there are."""

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
        """Take one."""
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
        """Sum them up.

        Args:
            seconds: how long it took.
        """
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
    """Return the least value that so many percent do not exceed; of an ordered sequence that is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _latency(seconds: Sequence[float]) -> Latency:
    ordered = sorted(second * 1000 for second in seconds)
    p50, p90, p95, p99 = (percentile(ordered, percent) for percent in (50, 90, 95, 99))
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, max=ordered[-1])


def _part(milliseconds: Sequence[float]) -> Part:
    ordered = sorted(milliseconds)
    return Part(answers=len(ordered), median=percentile(ordered, 50), p99=percentile(ordered, 99))
