"""The findings of an overload run."""

import pytest

from tests.load.config import read_config
from tests.load.figures import Measurement, Measurements, Outcome
from tests.load.report import Phase
from tests.load.scheduled import FLOOD, IDLE, MEANWHILE, overload_breaches
from tests.unit.load.test_config import OURS


def phase(name: str, outcomes: list[Outcome], milliseconds: float, *, retry_after: bool = True) -> Phase:
    """A phase of recommendations with these outcomes."""
    measurements = Measurements()
    for outcome in outcomes:
        measurements.add(
            Measurement(route="POST /recommend", outcome=outcome, seconds=milliseconds / 1000, retry_after=retry_after)
        )
    return Phase(name=name, figures=measurements.figures(1.0))


GOOD = phase(FLOOD, ["ok", "refused"], 90.0)
"""Its own latencies say nothing: its sender is late."""


@pytest.mark.parametrize(
    ("flooded", "meanwhile", "words"),
    [
        (GOOD, phase(MEANWHILE, ["ok", "refused", "refused"], 30.0), []),
        (GOOD, phase(MEANWHILE, ["ok", "refused"], 31.0), ["3.1 times"]),
        (GOOD, phase(MEANWHILE, ["ok", "failed"], 10.0), ["1 requests failed"]),
        (phase(FLOOD, ["ok", "failed"], 10.0), phase(MEANWHILE, ["ok"], 10.0), ["1 requests failed"]),
        (GOOD, phase(MEANWHILE, ["ok", "refused"], 10.0, retry_after=False), ["1 refusals have no Retry-After"]),
        (phase(FLOOD, ["refused"], 10.0, retry_after=False), phase(MEANWHILE, ["ok"], 10.0), ["have no Retry-After"]),
        (GOOD, phase(MEANWHILE, ["refused"], 10.0), ["nothing was accepted"]),
    ],
)
def test_excess_is_refused_and_the_rest_as_quick_as_ever(flooded: Phase, meanwhile: Phase, words: list[str]) -> None:
    """A sentence for each thing that went wrong, and none where nothing did."""
    idle = phase(IDLE, ["ok"], 10.0)

    found = overload_breaches([idle, flooded, meanwhile], read_config(OURS).overload)

    assert len(found) == len(words)
    assert all(word in breach for word, breach in zip(words, found, strict=True))
