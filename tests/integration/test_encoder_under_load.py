"""The encoder killed while requests go on: only its own calls fail, and it is back by itself."""

import time
from pathlib import Path

import psutil
import pytest

from llmemb.api.recommend import HistoryItem
from llmemb.client import Client
from tests.support.load import Load, tell
from tests.support.service import HEAT, ServeProcess
from tests.support.waiting import wait_until

WITHOUT_ENCODER = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20),
    "recommend by session": lambda client, _: client.recommend(session_id="ann"),
    "event": lambda client, number: client.add_events("ann", [str(number % 40 + 1)]),
    "patch": lambda client, number: client.patch_item("2", available=number % 2 == 0),
    "search": lambda client, _: client.item_page(query="the"),
}
# Each text is a new one, so that no cache answers.
WITH_ENCODER = {
    "embed": lambda client, number: client.embeddings([f"Film {number} {i}" for i in range(8)]),
    "put": lambda client, number: client.put_item(f"put {number % 50}", HEAT | {"title": f"Heat {number}"}),
    "recommend by attributes": lambda client, number: client.recommend(
        [HistoryItem(attributes={"title": f"Heat {number}"})]
    ),
}


def processes_of(service: ServeProcess) -> tuple[psutil.Process, psutil.Process]:
    """The process that starts workers and its worker, once both are there."""
    found: list[tuple[psutil.Process, psutil.Process]] = []

    def there() -> bool:
        hosts = psutil.Process(service.process.pid).children()
        found[:] = [(host, worker) for host in hosts for worker in host.children()]
        return len(found) == 1

    wait_until(there, "the encoder's worker runs")
    return found[0]


def seconds_to_be_back(load: Load, killed: float) -> float:
    """Wait until every kind of call that needs the encoder is answered well again."""
    return max(answer.ended for answer in load.wait_for_each(WITH_ENCODER, good=True, since=killed)) - killed


def test_killed_encoder_fails_only_its_own_calls(
    tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Its worker, the process that starts workers, and both; of each turn the time to be back is told."""
    seconds: list[str] = []
    with (
        ServeProcess(tiny_bundle, tmp_path, LLMEMB_READY_SECONDS="0") as service,
        Client(service.url) as client,
        Load(service.url, WITHOUT_ENCODER | WITH_ENCODER) as load,
    ):
        load.wait_for_each(WITHOUT_ENCODER | WITH_ENCODER, good=True, since=0.0, number=3)
        for turn in ("worker", "worker", "worker", "host before worker", "worker and host"):
            host, worker = processes_of(service)
            if "host" in turn:
                host.kill()
            if "before" in turn:
                # The worker goes on without it, while another host is started for the next worker.
                load.wait_for_each(WITH_ENCODER, good=True, since=time.monotonic(), number=3)
            worker.kill()
            seconds.append(f"{seconds_to_be_back(load, time.monotonic()):.1f} s ({turn})")
        wait_until(lambda: client.ready().status == "ready", "all works again")
        settled = time.monotonic()
        load.wait_for_each(WITHOUT_ENCODER | WITH_ENCODER, good=True, since=settled, number=5)

    for name in WITHOUT_ENCODER:
        assert not load.failed(name), name
    for name in WITH_ENCODER:
        assert {answer.kind for answer in load.failed(name)} == {(503, "encoder_unavailable", True)}, name
        assert all(answer.began < settled for answer in load.failed(name)), name
    tell(pytestconfig, f"the encoder is back after {', '.join(seconds)}")
