"""Head and body go out together; nothing else is held back, and nothing is lost."""

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest

from service.http.transport.connection import WholeAnswer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Wire:
    """A connection that takes note of each call of the system."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.sent.append(b"".join(parts))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def answer(wire: Wire) -> WholeAnswer:
    return WholeAnswer(cast(asyncio.Transport, wire))


def test_head_waits_for_the_body(wire: Wire, answer: WholeAnswer) -> None:
    """One call for both, and one for each further part."""
    answer.write(HEAD)
    assert wire.sent == []

    answer.write(b"{}")
    answer.write(b"more")
    assert wire.sent == [HEAD + b"{}", b"more"]


def test_head_of_an_empty_body_goes_out(wire: Wire, answer: WholeAnswer) -> None:
    """As 204 and 304 have it."""
    answer.write(HEAD)
    answer.write(b"")

    assert wire.sent == [HEAD]


def test_request_for_the_body_is_not_held_back(wire: Wire, answer: WholeAnswer) -> None:
    """The client waits for it before it sends its body; the answer's head comes after."""
    answer.write(CONTINUE)
    answer.write(HEAD)
    answer.write(b"{}")

    assert wire.sent == [CONTINUE, HEAD + b"{}"]


def test_head_is_sent_before_the_connection_closes(wire: Wire, answer: WholeAnswer) -> None:
    """Where an answer fails between its head and its body the client sees half of it, as without us."""
    answer.write(HEAD)
    answer.close()

    assert wire.sent == [HEAD]
    assert answer.is_closing()
