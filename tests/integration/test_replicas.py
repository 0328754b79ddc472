"""Several replicas on one Redis share every change."""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmemb.api.items import ItemBody
from llmemb.client import Client, NotFoundError
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import show
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, shared_encoder_url
from tests.support.waiting import wait_until

LOG_ENTRIES = 100
"""Changes that Redis keeps in order, about: it drops them by nodes of a hundred."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """Two that run, and how to start another one."""

    one: ForkedService
    other: ForkedService
    start: Callable[[], ForkedService]


@pytest.fixture(scope="module")
def replicas(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    with RedisServer(folder) as server, ServiceForks(folder) as forks:
        variables = {
            "LLMEMB_STATE_DIR": str(folder / "state"),
            "LLMEMB_ENCODER_URL": shared_encoder_url(),
            "LLMEMB_REDIS_URL": server.url,
            "LLMEMB_REDIS_LOG_ENTRIES": str(LOG_ENTRIES),
            "LLMEMB_READINESS_CACHE_SECONDS": "0",
        }

        def start() -> ForkedService:
            return forks.start(tiny_bundle, variables)

        yield Replicas(start(), start(), start)


@pytest.fixture
def one(replicas: Replicas) -> Iterator[Client]:
    with Client(replicas.one.url) as client:
        yield client


@pytest.fixture
def other(replicas: Replicas) -> Iterator[Client]:
    with Client(replicas.other.url) as client:
        yield client


def recommended(client: Client) -> dict[str, object]:
    """Every item that can be recommended, and its attributes."""
    answer = client.recommend(["1"], k=1000, exclude_history=False)
    return {item.id: item.attributes for item in answer.items}


def seconds_until(condition: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    wait_until(condition, what)
    return time.monotonic() - began


def change_all(item_id: str, one: Client, other: Client) -> list[float]:
    """Change an item in every way, and give the seconds until the other replica knows, for each."""
    one.put_item(item_id, HEAT)
    seconds = [seconds_until(lambda: item_id in recommended(other), "the item is recommended")]
    one.put_item(item_id, HEAT | {"title": "Heat II"})
    seconds.append(
        seconds_until(lambda: other.get_item(item_id).attributes["title"] == "Heat II", "the title is replaced")
    )
    one.patch_item(item_id, available=False, categories=["gone"])
    seconds.append(seconds_until(lambda: item_id not in recommended(other), "the item is unavailable"))
    assert other.get_item(item_id).categories == ["gone"]
    other.patch_item(item_id, available=True)
    seconds.append(seconds_until(lambda: item_id in recommended(one), "the item is available"))
    one.delete_item(item_id)
    seconds.append(seconds_until(lambda: item_id not in recommended(other), "the item is removed"))
    with pytest.raises(NotFoundError):
        other.get_item(item_id)
    return seconds


def test_item_changed_at_one_is_changed_at_the_other(one: Client, other: Client, pytestconfig: pytest.Config) -> None:
    """Put, its attributes replaced, made unavailable and available again, and removed."""
    seconds = sorted(second for turn in range(5) for second in change_all(f"heat {turn}", one, other))

    show(
        pytestconfig,
        f"a change is at the other replica after {1000 * seconds[len(seconds) // 2]:.0f} ms in the median of "
        f"{len(seconds)}, {1000 * seconds[-1]:.0f} ms at the most",
    )


def test_item_of_the_bundle_removed_at_one_is_gone_at_the_other(one: Client, other: Client) -> None:
    """And back when it is put again."""
    one.delete_item("40")
    wait_until(lambda: "40" not in recommended(other), "the item is gone")
    other.put_item("40", HEAT)
    wait_until(lambda: recommended(one).get("40") == recommended(other)["40"], "the item is back")


def test_session_written_at_one_is_read_at_the_other(one: Client, other: Client) -> None:
    """At once, since neither keeps it; both recommend the same after it, and when it is deleted it is gone for both."""
    one.add_events("ann", ["1", "2"])
    history = other.add_events("ann", ["3"]).history
    answers = [client.recommend(session_id="ann").items for client in (one, other)]
    one.delete_session("ann")

    assert history == ["1", "2", "3"]
    assert answers[0] == answers[1]
    with pytest.raises(NotFoundError):
        other.get_session("ann")


def test_later_replica_has_caught_up_when_it_is_ready(replicas: Replicas, one: Client) -> None:
    """The first thing it answers has every change in it."""
    one.embed_items([ItemBody(id=f"late {i}", attributes={"title": f"Late {i}"}) for i in range(50)], index=True)
    one.delete_item("39")
    one.patch_item("38", available=False)
    expected = recommended(one)
    third = replicas.start()
    with Client(third.url) as client:
        ready = client.ready()
        answered = recommended(client)
    third.kill()

    assert (ready.status, ready.checks["catalogue"], ready.checks["item_log"]) == ("ready", "ok", "ok")
    assert answered == expected


def test_paused_replica_that_missed_more_than_the_log_keeps_catches_up(
    replicas: Replicas, one: Client, other: Client
) -> None:
    """It sees that the log does not go on where it was, and reads the whole state."""
    replicas.other.send(signal.SIGSTOP)
    try:
        for turn in range(6):
            items = [ItemBody(id=f"missed {turn} {i}", attributes={"title": f"Missed {i}"}) for i in range(100)]
            one.embed_items(items, index=True)
        one.delete_item("37")
        one.patch_item("36", available=False)
    finally:
        replicas.other.send(signal.SIGCONT)

    wait_until(lambda: recommended(other) == recommended(one), "both have the same catalogue")
    assert "missed 5 99" in recommended(other)
    assert "37" not in recommended(other)
    assert "log does not continue at this replica's position" in replicas.other.log.read_text()
