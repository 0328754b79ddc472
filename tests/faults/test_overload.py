"""Ten times the load that the service can hold: the excess gets Retry-After, the rest is served as before.

OVERLOAD_SECONDS says how long it lasts.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path

import numpy as np
import psutil
import pytest

from llmemb.api.recommend import Filters, RecommendBatchResponse, RecommendRequest
from llmemb.client import Client, calls
from tests.load.http_load import AnyCall, Connections, Exchange, Unsent, closed_loop, open_loop
from tests.support.forked_service import ServiceForks
from tests.support.load import Load, show
from tests.support.service import HEAT, shared_encoder_url
from tests.support.waiting import DEADLINE_SECONDS

OVERLOAD_SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "5"))
TIMES = 10
MAX_RUNNING = 2
"""They take one thread all its time, so an accepted one waits for about one other."""
MEASURE_SECONDS = 2.0
MOST_PER_SECOND = 1500.0
"""What this client can send on a small machine."""
MOST_IN_FLIGHT = 4000
LOOSE = 10
"""By which accepted requests may be slower than when there is no load: a machine that others use too is in it."""
RECOVERY_SECONDS = 10
MEMORY = 64e6

OF_THE_BUNDLE = [str(number) for number in range(1, 41)]
TOGETHER = 6
"""Explanations of a batch: costly, so that this machine can send ten times what the service holds."""
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


def percentile_ms(exchanges: Sequence[Exchange], percent: float) -> float:
    return float(np.percentile([exchange.seconds for exchange in exchanges], percent)) * 1000


async def by_clients(url: str, requests: Sequence[AnyCall], clients: int) -> list[Exchange]:
    """Keep so many clients busy for a while."""
    exchanges: list[Exchange] = []
    with closing(Connections(url, None, DEADLINE_SECONDS)) as connections:
        await closed_loop(
            connections, cycle(requests), clients=clients, seconds=MEASURE_SECONDS, record=exchanges.append
        )
    return exchanges


async def by_schedule(url: str, requests: Sequence[AnyCall], per_second: float) -> tuple[list[Exchange], Unsent]:
    """Send at this rate, whether or not requests are answered."""
    exchanges: list[Exchange] = []
    unsent = Unsent()
    with closing(Connections(url, None, DEADLINE_SECONDS)) as connections:
        await open_loop(
            connections,
            cycle(requests),
            per_second=per_second,
            seconds=OVERLOAD_SECONDS,
            max_in_flight=MOST_IN_FLIGHT,
            record=exchanges.append,
            unsent=unsent,
        )
    return exchanges, unsent


def ids(answer: RecommendBatchResponse) -> list[list[str]]:
    return [[item.id for item in each.items] for each in answer.results]


def test_ten_times_the_load(
    forks: ServiceForks, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Nothing but 200 and 429 with `Retry-After`, correct answers, memory as before, and healthy again immediately."""
    service = forks.start(
        tiny_bundle,
        {
            "LLMEMB_STATE_DIR": str(tmp_path / "state"),
            "LLMEMB_ENCODER_URL": shared_encoder_url(),
            "LLMEMB_MAX_CONCURRENT_RECOMMENDATIONS": str(MAX_RUNNING),
        },
    )
    requests = [calls.recommend_batch(batch) for batch in BATCHES]
    process = psutil.Process(service.pid)
    idle = asyncio.run(by_clients(service.url, requests, 1))
    busy = asyncio.run(by_clients(service.url, requests, MAX_RUNNING))
    held = len(busy) / MEASURE_SECONDS
    rate = min(TIMES * held, MOST_PER_SECOND)
    memory = process.memory_info().rss

    with Load(service.url, ELSE, pause_seconds=0.05) as load:
        exchanges, unsent = asyncio.run(by_schedule(service.url, requests, rate))
    over = time.monotonic()
    with Client(service.url) as client:
        client.recommend_batch(BATCHES[0])
        assert client.ready().status == "ready"
        recovered = time.monotonic() - over
        expected = [ids(client.recommend_batch(batch)) for batch in BATCHES]
    growth = process.memory_info().rss - memory
    service.kill()

    statuses = Counter(exchange.error or exchange.status for exchange in exchanges)
    accepted, refused = ([each for each in exchanges if each.status == status] for status in (200, 429))
    slow, quick = percentile_ms(accepted, 99), percentile_ms(idle, 99)
    show(
        pytestconfig,
        f"{rate:.0f} requests a second, {rate / held:.1f} times what is held, for {OVERLOAD_SECONDS:.0f} s: "
        f"{dict(statuses)}, {unsent.dropped} dropped and {unsent.missed} missed; "
        f"accepted p50 {percentile_ms(accepted, 50):.0f} ms, p99 {slow:.0f} ms, "
        f"idle p50 {percentile_ms(idle, 50):.0f} ms, p99 {quick:.0f} ms: {slow / quick:.1f} times; "
        f"refused p99 {percentile_ms(refused, 99):.0f} ms; memory grew by "
        f"{growth / 1e6:.1f} MB; well again after {recovered:.2f} s",
    )
    assert statuses.keys() == {200, 429}
    assert all(b"retry-after" in exchange.headers for exchange in refused)
    right = {call.body: answer for call, answer in zip(requests, expected, strict=True)}
    assert all(ids(exchange.call.read(exchange.body)) == right[exchange.call.body] for exchange in accepted)
    assert len(accepted) > held * OVERLOAD_SECONDS / LOOSE
    assert slow < LOOSE * quick
    assert growth < MEMORY
    assert recovered < RECOVERY_SECONDS
    assert not any(load.failed(name) for name in ELSE)
