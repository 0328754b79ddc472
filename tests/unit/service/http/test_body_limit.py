"""A body too long is refused, one that does not come is not waited for, and a compressed one is decompressed."""

import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from llmemb_service.http.middleware.limits import gunzip
from tests.support.service import wait_until
from tests.support.small_app import small_app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(small_app(max_body_bytes=100)) as client:
        yield client


@contextmanager
def serving(app: FastAPI) -> Iterator[socket.socket]:
    """Serve on a real socket; yields a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the server starts")
            with socket.create_connection(listener.getsockname()) as connection:
                yield connection
        finally:
            server.should_exit = True
            thread.join()


def test_body_over_the_limit_is_refused_by_its_stated_length(client: TestClient) -> None:
    """413, before it is read; the connection is closed, since the rest of the body may follow."""
    response = client.post("/recommend", json={"text": "x" * 100})

    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"
    assert response.headers["Connection"] == "close"


def test_body_over_the_limit_is_refused_when_its_length_is_not_stated(client: TestClient) -> None:
    """Chunks are counted as they come."""
    chunks = (b'{"text":"', *[b"x" * 10] * 20, b'"}')
    response = client.post("/recommend", content=iter(chunks), headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Connection"] == "close"


def test_body_at_the_limit_passes(client: TestClient) -> None:
    """100 bytes of 100."""
    body = json.dumps({"text": "x" * 88}).encode()
    assert len(body) == 100

    assert client.post("/recommend", content=body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("part", [b"", b'{"text": '])
def test_body_that_does_not_come_is_not_waited_for(part: bytes) -> None:
    """Nothing of it, or a part: 408 as a problem, and the connection is closed."""
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    with serving(small_app(body_timeout_seconds=0.05)) as connection:
        connection.sendall(head + part)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "body_timeout"' in answer


def test_deadline_is_over_when_the_body_is_there() -> None:
    """A route that then waits for its client to go may do so for longer."""
    app = small_app(body_timeout_seconds=0.05)
    gone = threading.Event()

    @app.post("/items/wait")
    async def wait(request: Request) -> None:
        await request.body()
        # Longer than the deadline: it returns when the client has gone.
        assert (await request.receive())["type"] == "http.disconnect"
        gone.set()
        raise ClientDisconnect

    with serving(app) as connection:
        connection.sendall(b"POST /items/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.close()
        wait_until(gone.is_set, "the route learns that the client has gone")


def post_encoded(client: TestClient, content: bytes, encoding: str, path: str = "/recommend") -> httpx2.Response:
    return client.post(
        path, content=content, headers={"Content-Type": "application/json", "Content-Encoding": encoding}
    )


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_body_is_read(client: TestClient, encoding: str) -> None:
    """By every spelling of its name; `identity` names no encoding."""
    body = json.dumps({"text": "x" * 88}).encode()

    assert post_encoded(client, gzip.compress(body), encoding).status_code == 200
    assert post_encoded(client, body, "identity").status_code == 200


def test_gzip_body_has_the_limit_after_decompression() -> None:
    """100 bytes are taken, and 101 are not; the compressed body has the limit too."""
    with TestClient(small_app(max_body_bytes=100)) as client:
        over = post_encoded(client, gzip.compress(json.dumps({"text": "x" * 89}).encode()), "gzip")
        compressed = post_encoded(client, b"\x1f\x8b" * 51, "gzip")

    assert (over.status_code, over.json()["code"]) == (413, "body_too_large")
    assert over.json()["detail"] == "the body has more than 100 bytes after decompression, which is the maximum"
    assert compressed.status_code == 413


def test_gzip_bomb_allocates_no_more_than_the_limit() -> None:
    """50 MB of zeros in 50 kB, of which 100 kB are decompressed."""
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(OverflowError):
        gunzip(bomb, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "it is not gzip data"),
        (b"", "its gzip data end too early"),
        (gzip.compress(b"{}")[:-3], "its gzip data end too early"),
        (gzip.compress(b"{}") * 2, "something follows its gzip data"),
    ],
)
def test_body_that_is_not_the_gzip_it_says_is_refused(client: TestClient, content: bytes, reason: str) -> None:
    """400 with the reason."""
    problem = post_encoded(client, content, "gzip").json()

    assert problem["code"] == "invalid_json"
    assert problem["detail"] == f"the body has the Content-Encoding gzip, but {reason}"


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 5000])
def test_other_encodings_are_refused_with_the_one_that_is_taken(client: TestClient, encoding: str) -> None:
    """RFC 9110, section 15.5.16: `Accept-Encoding` of the answer names it."""
    response = post_encoded(client, b"{}", encoding)

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_encoding")
    assert response.headers["Accept-Encoding"] == "gzip"
    assert encoding[:20] in response.json()["detail"]
    assert len(response.content) < 1000


def test_gzip_body_that_does_not_come_is_not_waited_for() -> None:
    """408, as without compression."""
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
    with serving(small_app(body_timeout_seconds=0.05)) as connection:
        connection.sendall(head + b"\x1f\x8b")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 408 ")
