"""The encoder killed while requests go on: only its own calls fail, and it is back by itself."""

import time
from pathlib import Path

import psutil
import pytest

from llmemb.api.recommend import HistoryItem
from llmemb.client import Client
from tests.support.encoder import EncoderFamily, encoder_family
from tests.support.load import Load, show
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


RECOVERY_SECONDS = 10.0


def processes_of(bundle: Path) -> EncoderFamily:
    """The encoder's processes, once all are there."""
    folder = str(bundle / "encoder")
    return encoder_family(lambda: [each for each in psutil.process_iter() if folder in _command(each)])


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended, or is not ours to look at
        return []


def seconds_to_be_back(load: Load, killed: float) -> float:
    """Wait until every kind of call that needs the encoder is answered well again."""
    return max(answer.ended for answer in load.wait_for_each(WITH_ENCODER, good=True, since=killed)) - killed


def test_killed_encoder_fails_only_its_own_calls(
    tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """After a kill of its worker, of the process that starts workers, and of both, it is back within the budget."""
    seconds: dict[str, float] = {}
    with (
        ServeProcess(tiny_bundle, tmp_path, LLMEMB_READINESS_CACHE_SECONDS="0") as service,
        Client(service.url) as client,
        Load(service.url, WITHOUT_ENCODER | WITH_ENCODER) as load,
    ):
        load.wait_for_each(WITHOUT_ENCODER | WITH_ENCODER, good=True, since=0.0, number=3)
        began = time.monotonic()
        for turn in ("worker", "worker again", "host before worker", "host and worker", "host and worker again"):
            family = processes_of(tiny_bundle)
            if "host" in turn:
                family.host.kill()
            if "before" in turn:
                # The worker goes on without it, while another host is started for the next worker.
                load.wait_for_each(WITH_ENCODER, good=True, since=time.monotonic(), number=3)
            family.worker.kill()
            seconds[turn] = seconds_to_be_back(load, time.monotonic())
        wait_until(lambda: client.ready().status == "ready", "all works again")
        steady_at = time.monotonic()
        load.wait_for_each(WITHOUT_ENCODER | WITH_ENCODER, good=True, since=steady_at, number=5)

    kind = (503, "encoder_unavailable", True)
    load.check_outage(spared=WITHOUT_ENCODER, hit=WITH_ENCODER, kind=kind, began=began, ended=steady_at)
    told = ", ".join(f"{each:.1f} s ({turn})" for turn, each in seconds.items())
    show(pytestconfig, f"the encoder is back after {told}; load average {psutil.getloadavg()[0]:.1f}")
    assert max(seconds.values()) <= RECOVERY_SECONDS, told
