"""Three replicas behind the gateway: they agree, and they can be replaced or killed while people ask."""

import time
from collections.abc import Callable

import pytest

from llmemb.client import Client
from tests.docker.compose import START_SECONDS, Compose, seconds_until
from tests.docker.conftest import REPLICAS
from tests.docker.traffic import Traffic
from tests.support.load import Load, show

pytestmark = pytest.mark.docker
STAR_TREK = ["222", "227", "228", "229", "230", "380"]
FILM = {"title": "Star Trek: Nemesis", "release_year": 2002, "genres": ["Action", "Adventure", "Sci-Fi"]}
RECOVERY_SECONDS = 300
"""The budget of every recovery here, where an engine starts what has died; what was measured is printed."""


def test_item_put_through_one_replica_is_recommended_by_all(whole: Compose) -> None:
    """And taken out through another one, it is recommended by none."""
    first, second, third = whole.containers("service")

    def recommended(replica: str) -> bool:
        status, answer = whole.ask(replica, "POST", "/recommend", {"history": STAR_TREK, "k": 20})
        assert status == 200
        return '"nemesis-2"' in str(answer).replace("'", '"')

    assert whole.ask(first, "PUT", "/items/nemesis-2", {"attributes": FILM})[0] == 201
    for replica in (first, second, third):
        seconds_until(lambda replica=replica: recommended(replica), "the item is recommended")  # type: ignore[misc]
    assert whole.ask(second, "PATCH", "/items/nemesis-2", {"available": False})[0] == 200
    for replica in (first, second, third):
        seconds_until(lambda replica=replica: not recommended(replica), "the item is not")  # type: ignore[misc]


def test_rolling_restart_fails_no_request(whole: Compose, pytestconfig: pytest.Config) -> None:
    """All replicas are replaced one after the other, while people ask, upload and click."""
    before = set(whole.containers("service"))
    traffic = Traffic()
    with Load(whole.url, traffic.works, pause_seconds=0.05) as load:
        began = time.monotonic()
        whole.call("docker/rolling-restart.sh", timeout=REPLICAS * START_SECONDS)
        seconds = time.monotonic() - began
        load.wait_for_each(traffic.works, good=True, since=time.monotonic())
    answered = {name: len(load.answers(name)) for name in traffic.works}
    show(pytestconfig, f"rolling restart of {REPLICAS} replicas in {seconds:.0f} s: {answered} answered, none failed")

    assert {name: load.failed(name) for name in traffic.works if load.failed(name)} == {}
    assert len(whole.containers("service")) == REPLICAS
    assert not before & set(whole.containers("service"))
    with Client(whole.url) as client:
        traffic.assert_kept(client)


def test_replica_that_dies_costs_what_it_had_begun(whole: Compose, pytestconfig: pytest.Config) -> None:
    """Of what can be sent again nothing fails, but an answer that had begun; the engine starts it again."""
    traffic = Traffic()
    victim = whole.containers("service")[0]
    restarts = whole.restarts(victim)
    with Load(whole.url, traffic.works, pause_seconds=0.05) as load:
        load.wait_for_each(traffic.works, good=True, since=0, number=10)
        killed = time.monotonic()
        whole.crash(victim)
        load.wait_for_each(traffic.works, good=True, since=time.monotonic(), number=20)
        seconds_until(lambda: whole.restarts(victim) > restarts and whole.is_healthy(victim), "it is well again")
        recovery = time.monotonic() - killed
    failed = {name: len(load.failed(name)) for name in traffic.works}
    answered = {name: len(load.answers(name)) for name in traffic.works}
    errors = [str(answer.error) for name in traffic.works for answer in load.failed(name)]
    show(pytestconfig, f"replica killed: {failed} of {answered} failed {errors}; well again after {recovery:.0f} s")

    # One request of each kind is under way at a time: no kind can lose more.
    assert all(number <= 1 for number in failed.values())
    assert recovery < RECOVERY_SECONDS
    with Client(whole.url) as client:
        traffic.assert_kept(client)


def break_redis(
    whole: Compose, config: pytest.Config, what: str, break_it: Callable[[str], None], mend: Callable[[str], None]
) -> None:
    """Recommendations go on; uploads and clicks fail until Redis is mended, and none that was acknowledged is lost."""
    traffic = Traffic()
    redis = whole.containers("redis")[0]
    with Load(whole.url, traffic.works, pause_seconds=0.05) as load:
        load.wait_for_each(("upload", "click"), good=True, since=0, number=10)
        break_it(redis)
        mend(redis)
        since = time.monotonic()
        recovered = load.wait_for_each(("upload", "click"), good=True, since=since)
        recovery = max(answer.ended for answer in recovered) - since
    failed = {name: len(load.failed(name)) for name in traffic.works}
    answered = {name: len(load.answers(name)) for name in traffic.works}
    show(config, f"Redis {what}: {failed} of {answered} failed; writing again {recovery:.1f} s after it was mended")

    assert failed["recommend"] == 0
    assert {answer.kind[0] for name in ("upload", "click") for answer in load.failed(name)} <= {503}
    assert recovery < RECOVERY_SECONDS
    with Client(whole.url) as client:
        traffic.assert_kept(client)


def test_redis_that_dies_loses_nothing_that_was_acknowledged(whole: Compose, pytestconfig: pytest.Config) -> None:
    """The engine starts it again."""

    def started_again(redis: str) -> None:
        seconds_until(lambda: whole.restarts(redis) > before, "Redis is started again")

    before = whole.restarts(whole.containers("redis")[0])
    break_redis(whole, pytestconfig, "killed", whole.crash, started_again)


def test_redis_that_hangs_loses_nothing_that_was_acknowledged(whole: Compose, pytestconfig: pytest.Config) -> None:
    """Its connections stay open, and nothing is answered for a few seconds."""

    def pause(redis: str) -> None:
        whole.pause(redis)
        time.sleep(5)

    break_redis(whole, pytestconfig, "paused", pause, whole.unpause)


def test_redis_without_memory_loses_nothing_that_was_acknowledged(whole: Compose, pytestconfig: pytest.Config) -> None:
    """It refuses what would need more, and evicts nothing."""

    def limit(redis: str, bytes_: str) -> None:
        set_it = f'REDISCLI_AUTH="$(cat /run/redis-password/password)" redis-cli config set maxmemory {bytes_}'
        assert whole.call("docker", "exec", redis, "sh", "-c", set_it).strip() == "OK"

    def fill(redis: str) -> None:
        limit(redis, "1mb")
        time.sleep(5)

    break_redis(whole, pytestconfig, "out of memory", fill, lambda redis: limit(redis, "1gb"))
