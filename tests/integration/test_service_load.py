"""Many concurrent requests, over real sockets."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI

from llmemb_service.encoding.encoder_process import EncoderProcess
from tests.support.service import DEADLINE_SECONDS, HEAT, make_settings, serving, wait_until

MOST_ITEMS = 512
"""Of one request; the queue of the encoder holds as many."""


def films(prefix: str, number: int) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{i}", "attributes": {"title": f"Film {prefix} {i}"}} for i in range(number)]


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A service with an encoder elsewhere."""
    settings = make_settings(tiny_bundle, tmp_path_factory.mktemp("load") / "state")
    with serving(settings) as (_, url), httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client:
        yield client


def test_concurrent_requests_are_each_answered_right(client: httpx2.Client) -> None:
    """Embedding and recommending mixed: the same answers as one after the other."""

    def recommended(number: int) -> list[dict[str, Any]]:
        response = client.post("/recommend", json={"history": [str(number)], "k": 5})
        assert response.status_code == 200, response.text
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    def embedded(number: int) -> list[float]:
        item = {"id": f"new {number}", "attributes": {**HEAT, "title": f"Heat {number}"}}
        response = client.post("/embed_items", json={"items": [item]})
        assert response.status_code == 200, response.text
        vector: list[float] = response.json()["embeddings"][0]["embedding"]
        return vector

    alone = {number: recommended(number) for number in range(1, 21)}

    def work(number: int) -> list[float]:
        vector, found = embedded(number), recommended(number)
        assert [item["id"] for item in found] == [item["id"] for item in alone[number]]
        # Batches of other sizes sum in another order.
        scores = [[item["score"] for item in items] for items in (found, alone[number])]
        np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-4)
        return vector

    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(work, [*alone] * 3))

    for number, vector in zip([*alone] * 3, together, strict=True):
        np.testing.assert_allclose(vector, embedded(number), rtol=1e-4, atol=1e-4)


def test_readers_see_whole_catalogues_while_items_are_added(client: httpx2.Client) -> None:
    """Each answer holds every item acknowledged before it, and all or nothing of a request's items."""
    acknowledged: list[int] = []

    def add() -> None:
        for i in range(20):
            body = {"items": films(f"{i}:", 3), "index": True}
            assert client.post("/embed_items", json=body).status_code == 200
            acknowledged.append(i)

    def read(adding: threading.Event) -> None:
        while not adding.is_set():
            before = len(acknowledged)
            answer = client.post("/recommend", json={"history": ["1"], "k": 1000}).json()
            found = {item["id"] for item in answer["items"]}
            assert len(found) == len(answer["items"])
            for i in range(20):
                present = sum(f"{i}:{j}" in found for j in range(3))
                assert present == 3 or (present == 0 and i >= before)

    over = threading.Event()
    with ThreadPoolExecutor(5) as threads:
        reading = [threads.submit(read, over) for _ in range(4)]
        try:
            add()
        finally:
            over.set()
        for task in reading:
            task.result()


@dataclass(frozen=True)
class Own:
    """A service with an encoder of its own that waits on a signal."""

    app: FastAPI
    url: str
    client: httpx2.Client

    @contextmanager
    def encoder_held(self) -> Iterator[None]:
        """Let the encoder finish nothing."""
        encoder = self.app.state.runtime.versions.current.encoder
        assert isinstance(encoder, EncoderProcess)
        assert encoder.pid is not None
        os.kill(encoder.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(encoder.pid, signal.SIGCONT)

    def queue_is_empty(self) -> bool:
        return self.sample("llmemb_queued_items") == 0

    def sample(self, name: str) -> float:
        lines = httpx2.get(f"{self.url}/metrics").text.splitlines()
        return float(next((line for line in lines if line.startswith(f"{name} ")), f"{name} 0").rpartition(" ")[2])


@pytest.fixture(scope="module")
def own(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    settings = make_settings(
        tiny_bundle,
        tmp_path_factory.mktemp("own") / "state",
        encoder_url=None,
        encoder_threads=1,
        max_queued_items=MOST_ITEMS,
        max_client_batch_size=MOST_ITEMS,
        embed_timeout_seconds=5.0,
    )
    with serving(settings) as (app, url), httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client:
        yield Own(app, url, client)


def test_full_queue_answers_429_and_recommendations_go_on(own: Own) -> None:
    """A refusal has Retry-After; queued requests are answered; requests by id never wait in the queue."""
    with ThreadPoolExecutor(1) as threads:
        with own.encoder_held():
            first = threads.submit(own.client.post, "/embed_items", json={"items": films("a", MOST_ITEMS)})
            wait_until(lambda: first.done() or not own.queue_is_empty(), "the first request is in the queue")
            refused = own.client.post("/embed_items", json={"items": films("b", 1)})
            recommended = own.client.post("/recommend", json={"history": ["1"]})
            still_embedding = not first.done()

        assert refused.status_code == 429
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        assert recommended.status_code == 200
        assert still_embedding
        assert first.result().status_code == 200


def test_request_past_its_deadline_gets_504_and_frees_its_place(own: Own) -> None:
    """The prompts of an abandoned request are not embedded."""
    before = own.sample("llmemb_batch_items_sum")
    with own.encoder_held():
        response = own.client.post("/embed_items", json={"items": films("late ", MOST_ITEMS)})

        assert response.status_code == 504
        assert response.json()["code"] == "deadline"
        assert own.queue_is_empty()
    assert own.client.post("/embed_items", json={"items": films("after ", 1)}).status_code == 200
    assert own.sample("llmemb_batch_items_sum") - before < MOST_ITEMS


def test_client_that_goes_away_frees_its_place(own: Own) -> None:
    """The connection closed, the request's prompts are dropped."""
    before = own.sample("llmemb_batch_items_sum")

    async def leave() -> None:
        async with httpx2.AsyncClient(base_url=own.url, timeout=DEADLINE_SECONDS) as client:
            request = asyncio.create_task(client.post("/embed_items", json={"items": films("left ", MOST_ITEMS)}))
            while await asyncio.to_thread(own.queue_is_empty):
                assert not request.done()
            request.cancel()
            await asyncio.wait([request])

    with own.encoder_held():
        asyncio.run(leave())
        wait_until(own.queue_is_empty, "the queue is empty")
        left = 'http_response_status_code="499"'
        wait_until(lambda: left in own.client.get("/metrics").text, "the request counts as left")
    assert own.client.post("/embed_items", json={"items": films("then ", 1)}).status_code == 200
    assert own.sample("llmemb_batch_items_sum") - before < MOST_ITEMS


def test_service_leaves_no_thread_behind(tiny_bundle: Path, tmp_path: Path) -> None:
    """Stopped, it has ended what it started, whatever it was asked."""
    before = set(threading.enumerate())
    with serving(make_settings(tiny_bundle, tmp_path / "state")) as (_, url), httpx2.Client(base_url=url) as client:
        assert client.put("/items/heat", json={"attributes": HEAT}).status_code == 201
        assert client.get("/items", params={"query": "heat"}).json()["items"]
        assert client.post("/recommend", json={"history": ["1"], "explain": True}).status_code == 200
        assert client.post("/sessions/s/events", json={"events": [{"item_id": "heat"}]}).status_code == 200

    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
