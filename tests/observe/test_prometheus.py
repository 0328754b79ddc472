"""A real Prometheus watches two real replicas: every panel has something to show, and Redis stopped fires its alerts.

Needs `prometheus` (`apt-get install prometheus`: 19 MB to fetch, 120 MB on disk) and `haproxy` (2 MB); skipped without.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmemb.bundle import read_bundle
from tests.observe.live import Watched, people, watched
from tests.observe.watched import Query, queries
from tests.support.load import show
from tests.support.service import shared_encoder_url
from tests.support.waiting import wait_until

MAY_BE_EMPTY = {
    "Requests by API key",  # the replicas here ask for none
    "Refused",
}
AT_REST = {
    "GatewayDown",
    "GatewayHasNoServer",
    "ServiceDown",
    "ReplicaDown",
    "ReplicasFewer",
    "NoReplicaReady",
    "ReplicaNotReady",
    "StorageAway",
    "EncoderAway",
}


@pytest.fixture(scope="module")
def system(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    item_ids = list(read_bundle(tiny_bundle).items.ids)
    variables = {
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_FOLD_ITEMS": "20",
        "LLMEMB_REDIS_TIMEOUT_SECONDS": "2",
    }
    with watched(tiny_bundle, tmp_path_factory.mktemp("watched"), variables, people(item_ids, "title")) as system:
        yield system


def may_be_empty(query: Query) -> bool:
    return query.panel in MAY_BE_EMPTY or "offset 1d" in query.expr or query.expr.endswith("> 0")


def test_prometheus_scrapes_every_replica(system: Watched) -> None:
    """By its own address."""
    wait_until(lambda: sum(system.prometheus.values('up{job="llmemb"}')) == 2, "both are scraped")
    scraped = system.prometheus.ask("query", query='llmemb_start_time_seconds{job="llmemb"}')["result"]

    assert {series["metric"]["instance"] for series in scraped} == set(system.targets())


def test_every_panel_has_something_to_show(system: Watched) -> None:
    """Each expression is taken by Prometheus, and gives a number where there is traffic."""
    asked = queries()
    for query in asked:
        now = time.time()
        system.prometheus.ask("query_range", query=query.expr, start=now - 60, end=now, step=5)
    for query in asked:
        if not may_be_empty(query):
            wait_until(lambda q=query: bool(system.prometheus.values(q.expr)), f"{query.panel}: {query.expr}")  # type: ignore[misc]


def test_redis_stopped_fires_and_redis_back_ends_it(system: Watched, pytestconfig: pytest.Config) -> None:
    """On both replicas; no alert fires before, and none after Redis is back."""
    targets = system.targets()
    away = {("StorageAway", target) for target in targets}
    for_it = away | {(name, target) for name in ("RedisErrors", "StorageErrors") for target in targets}
    wait_until(
        lambda: not {name for name, _ in system.prometheus.firing()} & (AT_REST | {"ReadinessNotAsked"}), "all is well"
    )

    began = time.monotonic()
    system.redis.stop()
    wait_until(lambda: system.prometheus.firing() >= away, "it is said that the storage is away")
    told = time.monotonic() - began
    wait_until(lambda: system.prometheus.firing() >= for_it, "the alert on refused requests fires too")
    assert not {"ServiceDown", "NoReplicaReady", "ReplicaDown"} & {name for name, _ in system.prometheus.firing()}

    began = time.monotonic()
    system.redis.start()
    wait_until(lambda: not system.prometheus.firing() & away, "it ends")
    show(
        pytestconfig,
        f"Redis stopped: StorageAway fires after {told:.1f} s; started again, it ends after "
        f"{time.monotonic() - began:.1f} s (asked each second, with `for: 1s`)",
    )
