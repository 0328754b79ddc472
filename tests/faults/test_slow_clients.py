"""Slow clients are cut off after a limit, and other clients are not affected."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil
import pytest

from llmemb.client import Client
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, show
from tests.support.raw_http import RawAnswer, connect, drip, head, post, read_answer, read_to_end
from tests.support.service import shared_encoder_url
from tests.support.waiting import wait_until

BOUND_SECONDS = 1.0
"""How long a head, a body, and the reading of an answer may take here."""
SLACK_SECONDS = 10.0
"""By which a busy machine may be late."""
SLOW = 150
"""Slow clients at the same time."""
MAX_CONNECTIONS = 200
MAX_HEAD_BYTES = 64 * 1024

ORDINARY = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20),
    "event": lambda client, number: client.add_events("ann", [str(number % 40 + 1)]),
}


@pytest.fixture(scope="module")
def service(forks: ServiceForks, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ForkedService:
    variables = {
        "LLMEMB_STATE_DIR": str(tmp_path_factory.mktemp("slow")),
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_HEADERS_TIMEOUT_SECONDS": str(BOUND_SECONDS),
        "LLMEMB_BODY_TIMEOUT_SECONDS": str(BOUND_SECONDS),
        "LLMEMB_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "LLMEMB_MAX_QUEUED_RECOMMENDATIONS": "2048",
    }
    return forks.start(tiny_bundle, variables)


def cut_off(url: str, slow: Callable[[str], Awaitable[float]], most: int = SLOW) -> list[float]:
    """Run so many slow clients while an ordinary one goes on undisturbed; the seconds until each was cut off."""

    async def run() -> list[float]:
        return await asyncio.gather(*(slow(url) for _ in range(most)))

    with Load(url, ORDINARY) as load:
        load.wait_for_each(ORDINARY, good=True, since=0.0, number=3)
        seconds = asyncio.run(run())
        load.wait_for_each(ORDINARY, good=True, since=time.monotonic(), number=3)
    assert not any(load.failed(name) for name in ORDINARY)
    assert BOUND_SECONDS / 2 < min(seconds) <= max(seconds) < BOUND_SECONDS + SLACK_SECONDS
    return seconds


async def seconds_until_closed(url: str, start: bytes, dripped: bytes, check: Callable[[bytes], bool] = bool) -> float:
    """Send something, then something else byte by byte; what came back until the connection closed is checked."""
    reader, writer = await connect(url)
    began = time.monotonic()
    writer.write(start)
    dripping = asyncio.create_task(drip(writer, dripped, 0.05))
    try:
        answer = await read_to_end(reader)
        assert check(answer), answer
        return time.monotonic() - began
    finally:
        dripping.cancel()
        await asyncio.wait([dripping])
        writer.close()


def told(config: pytest.Config, what: str, seconds: Sequence[float]) -> None:
    show(config, f"{len(seconds)} {what} are cut off after {min(seconds):.2f} to {max(seconds):.2f} s, others go on")


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: "])
def test_slow_head_is_cut_off(service: ForkedService, pytestconfig: pytest.Config, start: bytes) -> None:
    """Nothing at all, or a header that grows byte by byte: closed without an answer."""
    dripped = b"x" * 10_000 if start else b""

    async def slow(url: str) -> float:
        return await seconds_until_closed(url, start, dripped, lambda answer: answer == b"")

    told(pytestconfig, "slow heads" if start else "silent connections", cut_off(service.url, slow))


def test_slow_body_is_cut_off(service: ForkedService, pytestconfig: pytest.Config) -> None:
    """It is answered 408, and the connection closed."""
    start = head("POST", "/recommend", Content_Type="application/json", Content_Length=10_000)

    async def slow(url: str) -> float:
        return await seconds_until_closed(url, start, b" " * 10_000, is_body_timeout)

    told(pytestconfig, "slow bodies", cut_off(service.url, slow))


def is_body_timeout(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 408 ") and b'"code": "body_timeout"' in answer


def test_body_of_an_answered_request_is_cut_off(service: ForkedService, pytestconfig: pytest.Config) -> None:
    """An answer that does not need the body does not keep the connection open for it."""
    start = head("GET", "/healthz", Content_Length=10_000)

    async def slow(url: str) -> float:
        return await seconds_until_closed(url, start, b" " * 10_000, lambda answer: answer.startswith(b"HTTP/1.1 200 "))

    told(pytestconfig, "unread bodies", cut_off(service.url, slow))


def test_client_that_does_not_read_is_cut_off(service: ForkedService, pytestconfig: pytest.Config) -> None:
    """Its answer, larger than what the system buffers, is dropped."""
    requests = [{"history": [str(i % 40 + 1)], "k": 40, "explain": True} for i in range(512)]
    process = psutil.Process(service.pid)

    def is_open(port: int) -> bool:
        return any(each.raddr and each.raddr.port == port for each in process.net_connections("tcp"))

    async def slow(url: str) -> float:
        reader, writer = await connect(url, limit=1024)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = writer.get_extra_info("sockname")[1]
        writer.write(post("/recommend/batch", {"requests": requests}))
        await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        await asyncio.to_thread(wait_until, lambda: not is_open(port), "the connection is closed")
        seconds = time.monotonic() - began
        writer.close()
        return seconds

    told(pytestconfig, "clients that do not read", cut_off(service.url, slow, most=2))


@pytest.mark.parametrize("place", ["path", "header", "headers", "trailers", "chunk extension"])
def test_endless_head_is_cut_off(service: ForkedService, place: str) -> None:
    """Whatever grows without end is refused before it has taken memory."""
    chunked = head("POST", "/recommend", Content_Type="application/json", Transfer_Encoding="chunked")
    start, more = {
        "path": (b"GET /", b"x" * 1024),
        "header": (b"GET /healthz HTTP/1.1\r\nX-Long: ", b"x" * 1024),
        "headers": (b"GET /healthz HTTP/1.1\r\n", b"X-Many: x\r\n" * 100),
        "trailers": (chunked + b"2\r\n{}\r\n0\r\n", b"X-Many: x\r\n" * 100),
        "chunk extension": (chunked + b"2;x=", b"x" * 1024),
    }[place]

    async def send() -> tuple[int, bytes]:
        reader, writer = await connect(service.url)
        reading = asyncio.create_task(read_to_end(reader))
        writer.write(start)
        sent = len(start)
        try:
            while not reading.done() and sent < 100 * MAX_HEAD_BYTES:
                writer.write(more)
                sent += len(more)
                await writer.drain()
        except ConnectionError:
            pass
        answer = await reading
        writer.close()
        return sent, answer

    memory = psutil.Process(service.pid).memory_info().rss
    sent, answer = asyncio.run(send())

    assert sent < 100 * MAX_HEAD_BYTES
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert psutil.Process(service.pid).memory_info().rss - memory < 32e6


def test_more_connections_than_there_are_places(service: ForkedService) -> None:
    """The one that has waited longest gives its place to the one that comes; one with a request keeps it."""

    async def crowd() -> tuple[RawAnswer | None, int]:
        reader, writer = await connect(service.url)
        body = b'{"history": ["1"]}'
        writer.write(head("POST", "/recommend", Content_Type="application/json", Content_Length=len(body)))
        silent = [await connect(service.url) for _ in range(MAX_CONNECTIONS + SLOW)]
        writer.write(body)
        answer = await read_answer(reader)
        for each, _ in silent[:SLOW]:
            assert await read_to_end(each) == b""
        open_now = len(psutil.Process(service.pid).net_connections("tcp"))
        for each in (writer, *(writer for _, writer in silent)):
            each.close()
        return answer, open_now

    answer, open_now = asyncio.run(crowd())
    with Client(service.url) as client:
        assert client.health().status == "alive"

    assert answer is not None
    assert answer.status == 200
    assert open_now <= MAX_CONNECTIONS + 4  # the listener, and the encoder's
