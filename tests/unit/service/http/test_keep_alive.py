"""How long a connection stays open between requests."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from llmemb_service.http.transport.connection import connections
from llmemb_service.settings import Settings
from tests.support.small_app import small_app
from tests.support.waiting import wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b'POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"text":""}'


@contextmanager
def connected(**settings: Any) -> Iterator[socket.socket]:
    """Serve with the service's own connections; yields a client's connection."""
    config = uvicorn.Config(
        small_app(**settings), http=connections(Settings(bundle=Path(), **settings)), log_config=None, access_log=False
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the server starts")
            with socket.create_connection(listener.getsockname()) as connection:
                connection.settimeout(60)
                yield connection
        finally:
            server.should_exit = True
            thread.join()


def status(connection: socket.socket) -> bytes:
    """Read one answer, which comes in one piece, and return its status; empty if the connection is closed."""
    return connection.recv(65536)[9:12]


def test_connection_stays_open_between_requests_as_long_as_the_setting() -> None:
    """The shorter timeouts of a head and a body do not close it."""
    with connected(keep_alive_seconds=60.0, headers_timeout_seconds=0.1, body_timeout_seconds=0.1) as connection:
        for _ in range(3):
            connection.sendall(POST)
            assert status(connection) == b"200"
            time.sleep(0.5)


def test_connection_is_closed_after_the_setting() -> None:
    """Without a request, the other timeouts being longer."""
    with connected(keep_alive_seconds=0.2) as connection:
        connection.sendall(GET)
        assert status(connection) == b"200"
        assert status(connection) == b""


def test_request_that_has_begun_is_not_cut_off() -> None:
    """The keep-alive timeout passes between two parts of its head, and of its body."""
    with connected(keep_alive_seconds=0.2) as connection:
        connection.sendall(GET)
        assert status(connection) == b"200"
        for part in (POST[:10], POST[10:-5]):
            connection.sendall(part)
            time.sleep(0.5)
        connection.sendall(POST[-5:])

        assert status(connection) == b"200"


@pytest.mark.parametrize("stray", [b"\r\n", b"\r\n\r\n"])
def test_stray_bytes_between_requests_keep_nothing_open(stray: bytes) -> None:
    """They end the wait of uvicorn, but are no request."""
    with connected(keep_alive_seconds=0.2, body_timeout_seconds=0.3) as connection:
        connection.sendall(GET)
        assert status(connection) == b"200"
        connection.sendall(stray)

        assert status(connection) == b""
