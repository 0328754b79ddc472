"""Ten times the load that the service can hold: the excess is told when to come again, the rest is served as before.

OVERLOAD_SECONDS says how long it lasts.
"""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from llmemb.api.recommend import Filters, RecommendBatchRequest, RecommendBatchResponse, RecommendRequest
from llmemb.client import Client
from tests.support.forked_service import ServiceForks
from tests.support.load import Load, tell
from tests.support.open_loop import arrive, one_after_another
from tests.support.raw_http import post
from tests.support.service import HEAT, shared_encoder_url

OVERLOAD_SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "5"))
TIMES = 10
MAX_RUNNING = 2
"""They take one thread all its time, so an accepted one waits for about one other."""
MEASURE_SECONDS = 2.0
MOST_PER_SECOND = 1500.0
"""What this client can send on a small machine."""
LOOSE = 10
"""By which accepted requests may be slower than when there is no load: a machine that others use too is in it."""
RECOVERY_SECONDS = 10
MEMORY = 64e6

OF_THE_BUNDLE = [str(number) for number in range(1, 41)]
TOGETHER = 6
"""Explanations of a batch: dear, so that ten times what is held is no more than this machine can also ask for."""
BATCHES = [
    [
        RecommendRequest(
            history=OF_THE_BUNDLE[number : number + 9], k=30, explain=True, filters=Filters(allow=OF_THE_BUNDLE)
        )
        for number in range(first, first + TOGETHER)
    ]
    for first in range(20)
]
ELSE = {
    "health": lambda client, _: client.health(),
    "read": lambda client, number: client.get_item(str(number % 40 + 1)),
    "put": lambda client, number: client.put_item(f"put {number % 20}", HEAT | {"title": f"Heat {number % 7}"}),
}


def percentile_ms(seconds: list[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1000


def ids(answer: RecommendBatchResponse) -> list[list[str]]:
    return [[item.id for item in each.items] for each in answer.results]


def test_ten_times_the_load(
    forks: ServiceForks, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Nothing but 200 and 429 with `Retry-After`, every answer right, memory as before, and well again at once."""
    service = forks.start(
        tiny_bundle,
        {
            "LLMEMB_STATE_DIR": str(tmp_path / "state"),
            "LLMEMB_ENCODER_URL": shared_encoder_url(),
            "LLMEMB_RANK_MAX_RUNNING": str(MAX_RUNNING),
        },
    )
    bodies = [RecommendBatchRequest(requests=batch).model_dump(mode="json", exclude_unset=True) for batch in BATCHES]
    requests = [post("/recommend/batch", body) for body in bodies]
    process = psutil.Process(service.pid)
    idle = asyncio.run(one_after_another(service.url, requests, connections=1, seconds=MEASURE_SECONDS))
    busy = asyncio.run(one_after_another(service.url, requests, connections=MAX_RUNNING, seconds=MEASURE_SECONDS))
    held = len(busy) / MEASURE_SECONDS
    rate = min(TIMES * held, MOST_PER_SECOND)
    memory = process.memory_info().rss

    with Load(service.url, ELSE, pause_seconds=0.05) as load:
        arrivals = asyncio.run(arrive(service.url, requests, per_second=rate, seconds=OVERLOAD_SECONDS))
    over = time.monotonic()
    with Client(service.url) as client:
        client.recommend_batch(BATCHES[0])
        assert client.ready().status == "ready"
        recovered = time.monotonic() - over
        expected = [ids(client.recommend_batch(batch)) for batch in BATCHES]
    growth = process.memory_info().rss - memory
    service.kill()

    statuses = Counter(arrival.status for arrival in arrivals)
    accepted = [arrival for arrival in arrivals if arrival.status == 200]
    refused = [arrival for arrival in arrivals if arrival.status == 429]
    slow, quick = percentile_ms([arrival.seconds for arrival in accepted], 99), percentile_ms(idle, 99)
    tell(
        pytestconfig,
        f"{rate:.0f} requests a second, {rate / held:.1f} times what is held, for {OVERLOAD_SECONDS:.0f} s: "
        f"{dict(statuses)}; accepted p50 {percentile_ms([each.seconds for each in accepted], 50):.0f} ms, p99 "
        f"{slow:.0f} ms, idle p50 {percentile_ms(idle, 50):.0f} ms, p99 {quick:.0f} ms: {slow / quick:.1f} times; "
        f"refused p99 {percentile_ms([arrival.seconds for arrival in refused], 99):.0f} ms; memory grew by "
        f"{growth / 1e6:.1f} MB; well again after {recovered:.2f} s",
    )
    assert statuses.keys() == {200, 429}
    assert all(arrival.says_when for arrival in refused)
    answers = [(arrival.request, RecommendBatchResponse.model_validate_json(arrival.body)) for arrival in accepted]
    assert all(ids(answer) == expected[request] for request, answer in answers)
    assert len(accepted) > held * OVERLOAD_SECONDS / LOOSE
    assert slow < LOOSE * quick
    assert growth < MEMORY
    assert recovered < RECOVERY_SECONDS
    assert not any(load.failed(name) for name in ELSE)
