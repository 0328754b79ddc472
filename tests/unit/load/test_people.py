"""What people of a load do, without anything being sent."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.load.people import ADDED, Embedder, Shop, Shopper
from tests.load.population import Population, read_population
from tests.load.routes import route_of
from tests.load.steps import MOST_TRIES, Refused, Reply, Step, Visit, drive

BATCH = 8


def asked(visit: Visit, reply: Callable[[Step], Reply] = lambda step: None) -> list[Step]:
    """Drive a visit; returns its steps."""
    steps: list[Step] = []

    def ask(step: Step) -> Reply:
        steps.append(step)
        return reply(step)

    drive(visit, ask, lambda seconds: None)
    return steps


def shop_of(population: Population) -> Shop:
    return Shop(population, Random(1), "run-shop-1", BATCH, 4.0)


def test_shopper_asks_for_all_that_a_shop_shows(tiny_bundle: Path) -> None:
    """Searches, clicks, similar items, recommendations by session and by history, some explained."""
    shopper = Shopper(read_population(tiny_bundle), Random(1), "run-shopper-1", 1.0)

    steps = [step for _ in range(50) for step in asked(shopper.visit())]

    assert set(map(route_of, (step.call for step in steps))) == {
        "GET /items",
        "GET /items/{item_id}/similar",
        "POST /sessions/{session_id}/events",
        "POST /recommend",
        "DELETE /sessions/{session_id}",
    }
    bodies = [step.call.body or b"" for step in steps if step.call.path == "/recommend"]
    for member in (b'"session_id"', b'"history"', b'"explain"'):
        assert 0 < sum(member in body for body in bodies) < len(bodies)
    assert asked(shopper.leave()) == []


def test_shopper_broken_off_leaves_no_session(tiny_bundle: Path) -> None:
    """The session that was begun is forgotten."""
    shopper = Shopper(read_population(tiny_bundle), Random(1), "run-shopper-1", 1.0)
    visit = shopper.visit()
    next(visit)

    (last,) = asked(shopper.leave())

    assert (last.call.method, last.call.path) == ("DELETE", "/sessions/run-shopper-1-1")


def test_shop_takes_away_what_it_has_uploaded(tiny_bundle: Path) -> None:
    """The ids of one burst, each once, all its own; the next burst has the same."""
    shop = shop_of(read_population(tiny_bundle))

    first, second = asked(shop.visit()), asked(shop.visit())

    for steps in (first, second):
        counts = Counter(route_of(step.call) for step in steps)
        assert counts["PUT /items/{item_id}"] == BATCH
        assert counts["POST /embed_items"] == 1
        assert counts["PATCH /items/{item_id}"] > 0
        assert counts["DELETE /items/{item_id}"] == 2 * BATCH
    deleted = [{step.call.path for step in steps if step.call.method == "DELETE"} for steps in (first, second)]
    assert deleted[0] == deleted[1]
    assert all(path.startswith(f"/items/{ADDED}run-shop-1-") for path in deleted[0])
    assert asked(shop.leave()) == []


def test_shop_broken_off_takes_its_items_away(tiny_bundle: Path) -> None:
    """Also the one whose upload was under way."""
    shop = shop_of(read_population(tiny_bundle))
    visit = shop.visit()
    put = [next(visit).call.path, visit.send(None).call.path]

    assert sorted(step.call.path for step in asked(shop.leave())) == sorted(put)


def test_shop_waits_as_long_as_it_is_told(tiny_bundle: Path) -> None:
    """A refused upload comes again after that time, and not without end."""
    steps = asked(shop_of(read_population(tiny_bundle)).visit(), lambda step: Refused(7.0))

    first = [step for step in steps if step.call is steps[0].call or step.call.path == steps[0].call.path][:MOST_TRIES]
    assert [step.pause_seconds for step in first] == [4.0, *[7.0] * (MOST_TRIES - 1)]
    assert steps[MOST_TRIES].call.path != steps[0].call.path


def test_embedder_goes_over_everything(tiny_bundle: Path) -> None:
    """Each item once, by attributes or as a text."""
    embedder = Embedder(read_population(tiny_bundle), Random(1), BATCH, 1.0)

    steps = asked(embedder.visit())

    assert Counter(route_of(step.call) for step in steps) == {"POST /embed_items": 3, "POST /v1/embeddings": 2}
    assert asked(embedder.leave()) == []
