"""No room left, on the disk or in Redis: writes are refused and say so, nothing acknowledged is lost, reads go on."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb.client import Client
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, failing_parts, show
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, shared_encoder_url
from tests.support.small_disk import small_disk
from tests.support.waiting import wait_until

READS = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20),
    "explain": lambda client, _: client.recommend(["1", "2"], k=5, explain=True),
    "embed": lambda client, number: client.embeddings(f"Film {number}"),
    "read": lambda client, _: client.get_item("1"),
    "by session": lambda client, _: client.recommend(session_id="bob"),
}
WRITES = {
    "put": lambda client, number: client.put_item(f"put {number}", attributes(number)),
    "event": lambda client, number: client.add_events(f"ann-{number}", ["1", "2"]),
}
RECOVERY_SECONDS = 30
"""Budget, on a busy machine, from the moment that there is room again."""


def attributes(number: int) -> dict[str, object]:
    return HEAT | {"title": f"Heat {number} {'x' * 3000}"}


def fill_and_make_room(
    service: ForkedService, fill: Callable[[], None], make_room: Callable[[], None], config: pytest.Config
) -> dict[str, list[int]]:
    """Let reads and writes meet storage that is full for a while; the numbers of the writes that were acknowledged."""
    with Client(service.url) as client, Load(service.url, READS | WRITES) as load:
        load.wait_for_each(READS | WRITES, good=True, since=0.0, number=3)
        filled = time.monotonic()
        fill()
        load.wait_for_each(WRITES, good=False, since=filled, number=10)
        wait_until(lambda: failing_parts(client) == {"item_log", "sessions"}, "readiness tells which parts fail")
        load.wait_for_each(READS, good=True, since=time.monotonic(), number=5)

        emptied = time.monotonic()
        make_room()
        recovered = load.wait_for_each(WRITES, good=True, since=emptied)
        wait_until(lambda: failing_parts(client) == set(), "readiness tells that all works")
        steady_at = time.monotonic()
        load.wait_for_each(READS | WRITES, good=True, since=steady_at, number=10)

    load.check_outage(spared=READS, hit=WRITES, kind=(503, "storage", True), began=filled, ended=steady_at)
    seconds = max(answer.ended for answer in recovered) - emptied
    refused = sum(len(load.failed(name)) for name in WRITES)
    show(config, f"{refused} writes refused, every read answered; writes work {seconds:.2f} s after there is room")
    assert seconds < RECOVERY_SECONDS
    return {name: [number for number, answer in enumerate(load.answers(name)) if not answer.error] for name in WRITES}


def check(service: ForkedService, acknowledged: dict[str, list[int]]) -> None:
    """What was acknowledged is there, as it was sent."""
    with Client(service.url) as client:
        for number in acknowledged["put"]:
            assert client.get_item(f"put {number}").attributes["title"] == attributes(number)["title"]
        for number in acknowledged["event"]:
            assert client.get_session(f"ann-{number}").history == ["1", "2"]
        recommended = {item.id for item in client.recommend(["1"], k=1000).items}
    assert {f"put {number}" for number in acknowledged["put"]} <= recommended


def variables(state: Path) -> dict[str, str]:
    return {
        "LLMEMB_STATE_DIR": str(state),
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_READINESS_CACHE_SECONDS": "0",
    }


def prepare(service: ForkedService) -> None:
    with Client(service.url) as client:
        client.add_events("bob", ["3", "4"])


def test_full_disk(forks: ServiceForks, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Also killed while it is full, the service loses nothing; a start on a full disk says what is wrong."""
    with small_disk(tmp_path / "disk", 16) as disk:
        state = disk.folder / "state"
        service = forks.start(tiny_bundle, variables(state))
        prepare(service)
        acknowledged = fill_and_make_room(service, disk.fill, disk.make_room, pytestconfig)
        check(service, acknowledged)

        disk.fill()
        service.kill()
        with pytest.raises(AssertionError, match="database or disk is full"):
            forks.start(tiny_bundle, variables(state))
        disk.make_room()
        service = forks.start(tiny_bundle, variables(state))
        check(service, acknowledged)
        service.kill()


def test_redis_out_of_memory(
    forks: ServiceForks, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """`maxmemory` is reached and nothing may be evicted; after a restart of both all that was acknowledged is there."""
    with RedisServer(tmp_path) as server, server.client() as redis:
        settings = variables(tmp_path / "state") | {"LLMEMB_REDIS_URL": server.url}
        service = forks.start(tiny_bundle, settings)
        prepare(service)

        def fill() -> None:
            redis.config_set("maxmemory-policy", "noeviction")
            redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]))

        acknowledged = fill_and_make_room(service, fill, lambda: redis.config_set("maxmemory", 0), pytestconfig)
        check(service, acknowledged)

        service.kill()
        server.restart()
        service = forks.start(tiny_bundle, settings)
        check(service, acknowledged)
        service.kill()
