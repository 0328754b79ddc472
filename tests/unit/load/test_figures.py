"""Requests summed up, checked against thresholds, and reported."""

from pathlib import Path

import pytest

from llmemb.client import ApiError, BusyError, ConnectionFailedError, NotFoundError
from tests.load.config import Thresholds, read_config
from tests.load.figures import (
    Figures,
    Measurement,
    Measurements,
    Outcome,
    breaches,
    outcome_of,
    parts_of,
    percentile,
)
from tests.load.report import Phase, Report, Stamps, render
from tests.unit.load.test_config import OURS

ROUTE = "POST /recommend"


def figures(*outcomes: Outcome, milliseconds: float = 10.0) -> Figures:
    """Figures of requests of one route with these outcomes."""
    measurements = Measurements()
    for outcome in outcomes:
        measurements.add(
            Measurement(
                route=ROUTE,
                outcome=outcome,
                seconds=milliseconds / 1000,
                reason="503 storage" if outcome == "failed" else "",
                retry_after=outcome == "refused",
                parts_ms={"total": milliseconds / 2, "rank": 1.0},
            )
        )
    return measurements.figures(2.0)


def problem(kind: type[ApiError], status: int, code: str) -> ApiError:
    return kind(status, code, "", (), None, None)


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank: the smallest value that so many percent do not exceed."""
    hundred = [float(number) for number in range(1, 101)]

    assert [percentile(hundred, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


def test_only_good_answers_count_into_latencies() -> None:
    """The others are counted, each as what it is."""
    route = figures("ok", "ok", "refused", "gone", "failed").routes[ROUTE]

    assert (route.requests, route.ok, route.refused, route.gone, route.failed) == (5, 2, 1, 1, 1)
    assert route.refused_with_retry_after == 1
    assert route.latency_ms is not None
    assert (route.latency_ms.p50, route.latency_ms.max) == (10.0, 10.0)
    assert (route.parts_ms["total"].answers, route.parts_ms["rank"].p99) == (2, 1.0)
    assert "queue" not in route.parts_ms


def test_server_timing_is_read() -> None:
    """Parts in milliseconds; entries of another form are skipped."""
    assert parts_of("total;dur=1.04, queue;dur=0.08") == {"total": 1.04, "queue": 0.08}
    assert parts_of("") == parts_of("cache;desc=hit, x;dur=") == {}


def test_errors_give_outcome_and_reason() -> None:
    """An item that its shop has removed is no fault of the service where it may be gone, and else is."""
    gone = problem(NotFoundError, 404, "item_not_found")

    assert outcome_of(None, may_be_gone=False) == ("ok", "")
    assert outcome_of(problem(BusyError, 429, "overloaded"), may_be_gone=False) == ("refused", "")
    assert outcome_of(gone, may_be_gone=True) == ("gone", "")
    assert outcome_of(gone, may_be_gone=False) == ("failed", "404 item_not_found")
    assert outcome_of(ConnectionFailedError("x"), may_be_gone=True) == ("failed", "ConnectionFailedError")


@pytest.mark.parametrize(
    ("outcomes", "thresholds", "word"),
    [
        (["ok", "failed"], {}, "failed"),
        (["ok", "refused"], {}, "refused"),
        (["ok"], {"p99_ms": {ROUTE: 9}}, "p99 is 10 ms"),
        (["ok"], {"p99_ms": {"GET /items": 9}}, "GET /items was not answered once"),
        ([], {}, "nothing was asked"),
    ],
)
def test_breaches_name_exceeded_thresholds(outcomes: list[Outcome], thresholds: dict[str, object], word: str) -> None:
    """One sentence; within them there is none."""
    bounds = Thresholds.model_validate({"failed_share": 0.1, "refused_share": 0.1, "p99_ms": {}} | thresholds)

    (breach,) = breaches(figures(*outcomes), bounds)

    assert word in breach
    assert breaches(figures("ok"), bounds.model_copy(update={"p99_ms": {ROUTE: 10}})) == []


def test_report_has_all_figures(tmp_path: Path) -> None:
    """Routes, failures, breaches and the origin of the figures, as Markdown and as JSON."""
    report = Report(
        kind="open",
        stamps=Stamps.begun("bundle-1", 42, ("httpx2",)).ended(),
        config=read_config(OURS),
        phases=(Phase(name="All", offered_per_second=5.0, dropped=3, figures=figures("ok", "failed")),),
        breaches=("too slow",),
        notes=("a note",),
    )

    text = render(report)

    for word in (ROUTE, "5.0 / 5.0", "503 storage", "too slow", "a note", "bundle-1", "httpx2", "3 dropped", "10.0"):
        assert word in text, word
    assert Report.model_validate_json(report.model_dump_json()) == report
