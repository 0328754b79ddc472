"""Redis gone and back while requests go on: what can do without it does, the rest says so and recovers by itself."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb.client import Client
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, failing_parts, show
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, shared_encoder_url
from tests.support.waiting import wait_until

WITHOUT_REDIS = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20),
    "explain": lambda client, _: client.recommend(["1", "2"], k=5, explain=True),
    "embed": lambda client, number: client.embeddings(f"Film {number}"),
    "search": lambda client, _: client.item_page(query="the"),
}
WITH_REDIS = {
    "put": lambda client, number: client.put_item(f"put {number % 200}", HEAT | {"title": f"Heat {number}"}),
    "patch": lambda client, number: client.patch_item("2", available=number % 2 == 0),
    "event": lambda client, number: client.add_events(f"ann-{number % 200}", ["1", "2"]),
    "session": lambda client, _: client.recommend(session_id="bob"),
}
PARTS = {"item_log", "sessions", "cache"}
"""Of `/readyz`: those that are in Redis."""


def go_and_come_back(
    service: ForkedService, take_away: Callable[[], None], give_back: Callable[[], None], config: pytest.Config
) -> None:
    """Let all kinds of requests meet a Redis that goes and comes back."""
    with Client(service.url) as client, Load(service.url, WITHOUT_REDIS | WITH_REDIS) as load:
        load.wait_for_each(WITHOUT_REDIS | WITH_REDIS, good=True, since=0.0, number=3)
        assert failing_parts(client) == set()

        gone = time.monotonic()
        take_away()
        load.wait_for_each(WITH_REDIS, good=False, since=gone, number=3)
        wait_until(lambda: failing_parts(client) == PARTS, "readiness tells which parts fail")
        load.wait_for_each(WITHOUT_REDIS, good=True, since=time.monotonic(), number=3)

        back = time.monotonic()
        give_back()
        answering = time.monotonic()
        recovered = load.wait_for_each(WITH_REDIS, good=True, since=back)
        wait_until(lambda: failing_parts(client) == set(), "readiness tells that all works")
        steady_at = time.monotonic()
        load.wait_for_each(WITHOUT_REDIS | WITH_REDIS, good=True, since=steady_at, number=10)

    load.check_outage(spared=WITHOUT_REDIS, hit=WITH_REDIS, kind=(503, "storage", True), began=gone, ended=steady_at)
    seconds = max(answer.ended for answer in recovered) - answering
    slowest = max(answer.ended - answer.began for name in WITHOUT_REDIS for answer in load.answers(name))
    show(
        config,
        f"what needs Redis works {max(0.0, seconds):.2f} s after Redis answers again; the slowest request that does "
        f"not need it took {slowest:.2f} s",
    )


def test_redis_gone_and_back_under_load(tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Killed and started again, then hanging for a while; every change that was acknowledged is there afterwards."""
    with RedisServer(tmp_path) as server, ServiceForks(tmp_path) as forks:
        service = forks.start(
            tiny_bundle,
            {
                "LLMEMB_STATE_DIR": str(tmp_path / "state"),
                "LLMEMB_ENCODER_URL": shared_encoder_url(),
                "LLMEMB_REDIS_URL": server.url,
                "LLMEMB_READINESS_CACHE_SECONDS": "0",
            },
        )
        with Client(service.url) as client:
            client.add_events("bob", ["3", "4"])
            client.put_item("kept", HEAT)

        go_and_come_back(service, server.stop, server.start, pytestconfig)
        go_and_come_back(service, server.pause, server.resume, pytestconfig)

        with Client(service.url) as client:
            assert client.get_session("bob").history == ["3", "4"]
            assert client.get_item("kept").attributes["title"] == "Heat"
