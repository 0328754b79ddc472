"""What an overload must not do."""

import pytest

from tests.load.clocked import IDLE, MEANWHILE, overload_breaches
from tests.load.config import read_config
from tests.load.figures import Measurements
from tests.load.flood import FLOOD
from tests.load.measurement import Measurement, Outcome
from tests.load.report import Phase
from tests.unit.load.test_config import OURS


def phase(name: str, outcomes: list[Outcome], milliseconds: float, *, retry_after: bool = True) -> Phase:
    """A phase of recommendations with these ends."""
    measurements = Measurements()
    for outcome in outcomes:
        measurements.add(
            Measurement(route="POST /recommend", outcome=outcome, seconds=milliseconds / 1000, retry_after=retry_after)
        )
    return Phase(name=name, figures=measurements.figures(1.0))


GOOD = phase(FLOOD, ["ok", "refused"], 90.0)
"""What it takes itself says nothing: its sender is late."""


@pytest.mark.parametrize(
    ("flooded", "meanwhile", "words"),
    [
        (GOOD, phase(MEANWHILE, ["ok", "refused", "refused"], 30.0), []),
        (GOOD, phase(MEANWHILE, ["ok", "refused"], 31.0), ["3.1 times"]),
        (GOOD, phase(MEANWHILE, ["ok", "failed"], 10.0), ["1 requests failed"]),
        (phase(FLOOD, ["ok", "failed"], 10.0), phase(MEANWHILE, ["ok"], 10.0), ["1 requests failed"]),
        (GOOD, phase(MEANWHILE, ["ok", "refused"], 10.0, retry_after=False), ["1 refusals do not say when"]),
        (phase(FLOOD, ["refused"], 10.0, retry_after=False), phase(MEANWHILE, ["ok"], 10.0), ["do not say when"]),
        (GOOD, phase(MEANWHILE, ["refused"], 10.0), ["nothing was accepted"]),
    ],
)
def test_excess_is_refused_and_the_rest_as_quick_as_ever(flooded: Phase, meanwhile: Phase, words: list[str]) -> None:
    """Each of the ways in which it is not so is told of."""
    idle = phase(IDLE, ["ok"], 10.0)

    found = overload_breaches([idle, flooded, meanwhile], read_config(OURS).overload)

    assert len(found) == len(words)
    assert all(word in breach for word, breach in zip(words, found, strict=True))
