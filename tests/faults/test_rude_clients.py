"""Clients that go away in the middle, and bodies over the limit: no place is lost, nothing fails, memory is bounded."""

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from llmemb.client import Client
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, show
from tests.support.raw_http import RawAnswer, ask, connect, head, post, read_answer
from tests.support.service import HEAT, shared_encoder_url
from tests.support.waiting import wait_until

DISCONNECTS = 300
"""Of each kind."""
AT_ONCE = 50
MAX_RUNNING = 8
"""Far fewer than there are disconnects: one place lost by each would soon leave none."""
MAX_BODY = 100_000
MEMORY = 64e6
"""By which the process may grow; the bodies that are sent to it have many times as much."""

ORDINARY = {
    "put": lambda client, number: client.put_item(f"put {number % 50}", HEAT | {"title": f"Heat {number}"}),
    "search": lambda client, _: client.item_page(query="the"),
}


@pytest.fixture(scope="module")
def service(forks: ServiceForks, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ForkedService:
    variables = {
        "LLMEMB_STATE_DIR": str(tmp_path_factory.mktemp("rude")),
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_MAX_CONCURRENT_RECOMMENDATIONS": str(MAX_RUNNING),
        "LLMEMB_MAX_QUEUED_RECOMMENDATIONS": str(MAX_RUNNING),
        "LLMEMB_MAX_QUEUED_ITEMS": "16",
        "LLMEMB_MAX_CLIENT_BATCH_SIZE": str(MAX_RUNNING),
        "LLMEMB_MAX_BODY_BYTES": str(MAX_BODY),
    }
    return forks.start(tiny_bundle, variables)


def value(client: Client, name: str) -> float:
    """A metric without labels."""
    lines = client.metrics().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def nothing_is_left(client: Client) -> bool:
    """Whether no request runs but the one that asks, and nothing waits."""
    waiting = value(client, "llmemb_queued_recommendations") + value(client, "llmemb_queued_items")
    return value(client, "http_server_active_requests") == 1 and waiting == 0


def num_connections(process: psutil.Process, url: str) -> int:
    """Connections of clients; the one that asks keeps one open."""
    port = urlsplit(url).port
    return sum(each.laddr.port == port and bool(each.raddr) for each in process.net_connections("tcp"))


RECOMMENDATION = post("/recommend", {"history": ["1", "2"], "k": 40})
EMBEDDING = post("/embed_items", {"items": [{"id": "x", "attributes": HEAT}]})
CHUNKED = head("POST", "/recommend", Content_Type="application/json", Transfer_Encoding="chunked")
LEFT = {
    "in the head": RECOMMENDATION[:40],
    "before the body": RECOMMENDATION[: RECOMMENDATION.index(b"\r\n\r\n") + 4],
    "in the body": RECOMMENDATION[:-5],
    "in a chunk": CHUNKED + b"100\r\n{",
    "before the recommendation": RECOMMENDATION,
    "before the embedding": EMBEDDING,
    "before the answer to a batch": post("/recommend/batch", {"requests": [{"history": ["1"], "k": 40}] * MAX_RUNNING}),
}


@pytest.mark.parametrize("left", LEFT)
def test_clients_that_go_away_leave_nothing_behind(service: ForkedService, left: str) -> None:
    """Closed and reset by turns; then the service is as it was."""

    async def leave(number: int) -> None:
        _, writer = await connect(service.url)
        writer.write(LEFT[left])
        await asyncio.sleep(0.001 * (number % 5))  # so that some go before, and some while it is worked on
        if number % 2:
            writer.transport.abort()
        writer.close()

    async def leave_all() -> None:
        for start in range(0, DISCONNECTS, AT_ONCE):
            await asyncio.gather(*(leave(start + number) for number in range(AT_ONCE)))

    process = psutil.Process(service.pid)
    with Client(service.url) as client:
        client.recommend(["1"])
        wait_until(lambda: nothing_is_left(client), "earlier requests are over")
        with Load(service.url, ORDINARY) as load:
            asyncio.run(leave_all())
            load.wait_for_each(ORDINARY, good=True, since=time.monotonic(), number=2)
        assert not any(load.failed(name) for name in ORDINARY)
        wait_until(lambda: nothing_is_left(client), "their requests are over")
        wait_until(lambda: num_connections(process, service.url) <= 1, "their connections are closed")
        for _ in range(2 * MAX_RUNNING):
            assert len(client.recommend(["1"], k=10).items) == 10

    log = service.log.read_text()
    assert "Traceback" not in log
    assert '"status": 500' not in log


def test_oversize_bodies_are_refused_and_take_no_memory(service: ForkedService, pytestconfig: pytest.Config) -> None:
    """Stated, the length is refused before the body is read; not stated, as soon as it is over the limit."""
    size = 200 * MAX_BODY
    stated = head("POST", "/recommend", Content_Type="application/json", Content_Length=size)
    piece = b"%x\r\n%s\r\n" % (10_000, b" " * 10_000)
    sent: list[int] = []

    async def send(start: bytes, piece: bytes) -> RawAnswer | None:
        reader, writer = await connect(service.url)
        answering = asyncio.create_task(read_answer(reader))
        writer.write(start)
        sent.append(0)
        try:
            while not answering.done() and sent[-1] < size:
                writer.write(piece)
                sent[-1] += len(piece)
                await writer.drain()
        except ConnectionError:
            pass  # the service closes it without reading the rest
        answer = await answering
        writer.close()
        return answer

    async def send_all() -> list[RawAnswer | None]:
        return [
            answer
            for _ in range(10)
            for answer in await asyncio.gather(
                *(send(start, content) for start, content in ((stated, b" " * 10_000), (CHUNKED, piece)) * 5)
            )
        ]

    memory = psutil.Process(service.pid).memory_info().rss
    answers = asyncio.run(send_all())
    growth = psutil.Process(service.pid).memory_info().rss - memory
    answer = asyncio.run(ask(service.url, RECOMMENDATION))

    # Where the client still sends when the connection closes, the system may drop the answer; not where it waits.
    answers.append(asyncio.run(ask(service.url, stated)))
    answered = [answer for answer in answers if answer is not None]
    assert answered
    assert {(answer.status, answer.headers["connection"]) for answer in answered} == {(413, "close")}
    assert all(b'"code": "body_too_large"' in answer.body for answer in answered)
    assert max(sent) < size
    assert growth < MEMORY
    assert answer is not None
    assert answer.status == 200
    show(
        pytestconfig,
        f"{len(answers)} oversize bodies: {len(answered)} answers 413, the others reset; at most {max(sent) / 1e6:.1f} "
        f"MB of {size / 1e6:.0f} MB taken; memory grew by {growth / 1e6:.1f} MB",
    )
