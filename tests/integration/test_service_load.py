"""Many requests at once, over real sockets."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.support.service import DEADLINE_SECONDS, HEAT, make_settings, serving, wait_until


def films(prefix: str, number: int) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{i}", "attributes": {"title": f"Film {prefix} {i}"}} for i in range(number)]


def queue_is_empty(url: str) -> bool:
    return "llmemb_queue_items 0.0" in httpx2.get(f"{url}/metrics").text


def test_concurrent_requests_are_each_answered_right(tiny_bundle: Path, tmp_path: Path) -> None:
    """Embedding, adding and recommending mixed: the same answers as one after the other."""
    with serving(make_settings(tiny_bundle, tmp_path / "state")) as (_, url), httpx2.Client(base_url=url) as client:
        alone = {n: client.post("/recommend", json={"history": [str(n)], "k": 5}).json()["items"] for n in range(1, 21)}

        def work(number: int) -> None:
            item = {"id": f"new {number}", "attributes": {**HEAT, "title": f"Heat {number}"}}
            embedded = client.post("/embed_items", json={"items": [item]}, timeout=DEADLINE_SECONDS)
            assert embedded.status_code == 200
            found = client.post("/recommend", json={"history": [str(number)], "k": 5}, timeout=DEADLINE_SECONDS)
            assert found.json()["items"] == alone[number]

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(work, [*alone] * 3))


def test_readers_see_whole_catalogues_while_items_are_added(tiny_bundle: Path, tmp_path: Path) -> None:
    """Each answer holds every item acknowledged before it, and all or nothing of a request's items."""
    with serving(make_settings(tiny_bundle, tmp_path / "state")) as (_, url), httpx2.Client(base_url=url) as client:
        acknowledged: list[int] = []

        def add() -> None:
            for i in range(20):
                body = {"items": films(f"{i}:", 3), "index": True}
                assert client.post("/embed_items", json=body, timeout=DEADLINE_SECONDS).status_code == 200
                acknowledged.append(i)

        def read() -> None:
            while len(acknowledged) < 20:
                before = len(acknowledged)
                answer = client.post("/recommend", json={"history": ["1"], "k": 1000}, timeout=DEADLINE_SECONDS).json()
                found = {item["id"] for item in answer["items"]}
                assert len(found) == len(answer["items"])
                for i in range(20):
                    present = sum(f"{i}:{j}" in found for j in range(3))
                    assert present == 3 or (present == 0 and i >= before)

        with ThreadPoolExecutor(5) as threads:
            for task in [threads.submit(add), *(threads.submit(read) for _ in range(4))]:
                task.result()


def test_full_queue_answers_429_and_recommendations_go_on(tiny_bundle: Path, tmp_path: Path) -> None:
    """Retry-After tells when to come again; what is in the queue is answered; ids never wait for it."""
    settings = make_settings(tiny_bundle, tmp_path / "state", batch_tokens=1, queue_max_items=512)
    with serving(settings) as (_, url), httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(client.post, "/embed_items", json={"items": films("a", 512)})
            wait_until(lambda: first.done() or not queue_is_empty(url), "the first request is in the queue")
            refused = client.post("/embed_items", json={"items": films("b", 512)})
            recommended = client.post("/recommend", json={"history": ["1"]})
            still_embedding = not first.done()

        assert refused.status_code == 429
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        assert recommended.status_code == 200
        assert still_embedding
        assert first.result().status_code == 200


def test_request_past_its_deadline_gets_504_and_frees_its_place(tiny_bundle: Path, tmp_path: Path) -> None:
    """Its prompts are not embedded for nobody."""
    settings = make_settings(tiny_bundle, tmp_path / "state", batch_tokens=1, embed_timeout_seconds=0.05)
    with serving(settings) as (_, url):
        response = httpx2.post(f"{url}/embed_items", json={"items": films("a", 512)}, timeout=DEADLINE_SECONDS)

        assert response.status_code == 504
        assert response.json()["code"] == "deadline"
        wait_until(lambda: queue_is_empty(url), "the queue is empty")


def test_client_that_goes_away_frees_its_place(tiny_bundle: Path, tmp_path: Path) -> None:
    """The connection closed, the rest of the request's prompts is dropped."""
    settings = make_settings(tiny_bundle, tmp_path / "state", batch_tokens=1)

    async def leave(url: str) -> None:
        async with httpx2.AsyncClient(base_url=url) as client:
            request = asyncio.create_task(client.post("/embed_items", json={"items": films("a", 512)}))
            while await asyncio.to_thread(queue_is_empty, url):
                assert not request.done()
            request.cancel()
            await asyncio.wait([request])

    with serving(settings) as (app, url):
        asyncio.run(leave(url))
        wait_until(lambda: queue_is_empty(url), "the queue is empty")
        wait_until(lambda: 'status="499"' in httpx2.get(f"{url}/metrics").text, "the request counts as left")
        batches = next(
            metric.samples for metric in app.state.metrics.batch_items.collect() if metric.name == "llmemb_batch_items"
        )

    assert next(sample.value for sample in batches if sample.name.endswith("_count")) < 512


def test_service_leaves_no_thread_behind(tiny_bundle: Path, tmp_path: Path) -> None:
    """Stopped, it has ended what it started."""
    with serving(make_settings(tiny_bundle, tmp_path / "state")):
        pass

    assert not [thread.name for thread in threading.enumerate() if thread.name == "encoder"]
