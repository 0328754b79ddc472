"""What people of a load send, without anything being sent."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.load.figures import route_of
from tests.load.http_load import AnyCall
from tests.load.people import ADDED, MAX_TRIES, Embedder, Refused, Reply, Shop, Shopper
from tests.load.population import Population, read_population

BATCH = 8


class RunEndedError(Exception):
    """The run ends."""


@dataclass
class Recorder:
    """Takes the calls of a person, and ends the run after so many."""

    reply: Reply = None
    most: int | None = None
    calls: list[AnyCall] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def ask(self, call: AnyCall, pause_seconds: float = 0.0, *, may_be_gone: bool = False) -> Reply:
        if len(self.calls) == self.most:
            raise RunEndedError
        self.calls.append(call)
        self.pauses.append(pause_seconds)
        return self.reply

    def taken(self) -> list[AnyCall]:
        """The calls since the last time."""
        taken, self.calls = self.calls, []
        return taken


@pytest.fixture
def population(tiny_bundle: Path) -> Population:
    """The items of the tiny bundle."""
    return read_population(tiny_bundle)


def shopper_of(population: Population, recorder: Recorder) -> Shopper:
    return Shopper(population, Random(1), recorder.ask, 1.0, "run-shopper-1")


def shop_of(population: Population, recorder: Recorder) -> Shop:
    return Shop(population, Random(1), recorder.ask, 4.0, "run-shop-1", BATCH)


def test_shopper_requests_all_that_a_shop_shows(population: Population) -> None:
    """Searches, clicks, similar items, recommendations by session and by history, some explained."""
    recorder = Recorder()
    shopper = shopper_of(population, recorder)

    for _ in range(50):
        shopper.visit()

    sent = recorder.taken()
    assert set(map(route_of, sent)) == {
        "GET /items",
        "GET /items/{item_id}/similar",
        "POST /sessions/{session_id}/events",
        "POST /recommend",
        "DELETE /sessions/{session_id}",
    }
    bodies = [call.body or b"" for call in sent if call.path == "/recommend"]
    for member in (b'"session_id"', b'"history"', b'"explain"'):
        assert 0 < sum(member in body for body in bodies) < len(bodies)
    shopper.leave()
    assert recorder.taken() == []


def test_shopper_deletes_the_session_of_a_visit_that_ended_early(population: Population) -> None:
    """The session that was begun is deleted."""
    recorder = Recorder(most=2)
    shopper = shopper_of(population, recorder)
    with pytest.raises(RunEndedError):
        shopper.visit()
    recorder.taken()

    shopper.leave()

    (last,) = recorder.taken()
    assert (last.method, last.path) == ("DELETE", "/sessions/run-shopper-1-1")


def test_shop_removes_what_it_has_uploaded(population: Population) -> None:
    """The ids of one burst, each once, all its own; the next burst has the same."""
    recorder = Recorder()
    shop = shop_of(population, recorder)

    bursts = []
    for _ in range(2):
        shop.visit()
        bursts.append(recorder.taken())

    for sent in bursts:
        counts = Counter(map(route_of, sent))
        assert counts["PUT /items/{item_id}"] == BATCH
        assert counts["POST /embed_items"] == 1
        assert counts["PATCH /items/{item_id}"] > 0
        assert counts["DELETE /items/{item_id}"] == 2 * BATCH
    deleted = [{call.path for call in sent if call.method == "DELETE"} for sent in bursts]
    assert deleted[0] == deleted[1]
    assert all(path.startswith(f"/items/{ADDED}run-shop-1-") for path in deleted[0])
    shop.leave()
    assert recorder.taken() == []


def test_shop_removes_the_items_of_a_burst_that_ended_early(population: Population) -> None:
    """The one whose upload was under way, too."""
    recorder = Recorder(most=2)
    shop = shop_of(population, recorder)
    with pytest.raises(RunEndedError):
        shop.visit()
    put = [call.path for call in recorder.taken()]
    recorder.most = None

    shop.leave()

    deleted = {call.path for call in recorder.taken()}
    assert set(put) < deleted
    assert len(deleted) == 3


def test_shop_waits_as_long_as_a_refusal_says(population: Population) -> None:
    """A refused upload is sent again after that time, a limited number of times."""
    recorder = Recorder(Refused(7.0))

    shop_of(population, recorder).visit()

    paths = [call.path for call in recorder.calls]
    assert paths[:MAX_TRIES] == [paths[0]] * MAX_TRIES
    assert recorder.pauses[:MAX_TRIES] == [4.0, *[7.0] * (MAX_TRIES - 1)]
    assert paths[MAX_TRIES] != paths[0]


def test_embedder_embeds_everything(population: Population) -> None:
    """Each item once, by attributes or as a text."""
    recorder = Recorder()

    Embedder(population, Random(1), recorder.ask, 1.0, BATCH).visit()

    assert Counter(map(route_of, recorder.calls)) == {"POST /embed_items": 3, "POST /v1/embeddings": 2}
