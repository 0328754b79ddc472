"""SIGTERM in the middle of requests: those in flight are answered, new ones refused, acknowledged writes are kept."""

import asyncio
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from llmemb.client import NO_RETRIES, ApiError, Client, ConnectionFailedError
from tests.support.load import show
from tests.support.raw_http import RawAnswer, connect, head, post, read_answer, read_to_end
from tests.support.service import HEAT, ServeProcess, shared_encoder_url
from tests.support.waiting import wait_until

SHUTDOWN_SECONDS = 20
CONNECTIONS = 30
WRITERS = 4
BODY = b'{"history": ["1", "2"], "k": 40}'
HEAD = head("POST", "/recommend", Content_Type="application/json", Content_Length=len(BODY))


def serve(bundle: Path, state: Path) -> ServeProcess:
    return ServeProcess(
        bundle, state, LLMEMB_ENCODER_URL=shared_encoder_url(), LLMEMB_SHUTDOWN_TIMEOUT_SECONDS=str(SHUTDOWN_SECONDS)
    )


async def refused(url: str) -> bool:
    try:
        _, writer = await connect(url)
    except ConnectionError:  # reset: it was in the queue of the socket that is closed now
        return True
    writer.close()
    return False


async def stop_amid_requests(service: ServeProcess) -> tuple[list[RawAnswer | None], list[RawAnswer | None]]:
    """SIGTERM while some requests have sent half of their body, and others nothing yet on a connection that is open."""
    begun = [await connect(service.url) for _ in range(CONNECTIONS)]
    kept = [await connect(service.url) for _ in range(CONNECTIONS)]
    for _, writer in begun:
        writer.write(HEAD + BODY[:5])
    for reader, writer in kept:
        writer.write(post("/recommend", {"history": ["1"], "k": 5}))
        first = await read_answer(reader)
        assert first is not None
        assert first.status == 200
    silent = await connect(service.url)

    service.process.send_signal(signal.SIGTERM)
    for _, writer in kept:
        writer.write(HEAD + BODY)
    late = [await read_answer(reader) for reader, _ in kept]
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while not await refused(service.url):
        assert time.monotonic() < deadline, "new connections are still taken"
    for _, writer in begun:
        writer.write(BODY[5:])
    answers = [await read_answer(reader) for reader, _ in begun]
    assert await read_to_end(silent[0]) == b""
    for _, writer in (*begun, *kept, silent):
        writer.close()
    return answers, late


class Writer:
    """Puts items and appends events, one after the other, until the service is gone."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self.items: list[str] = []
        self.sessions: list[str] = []
        self.strange: list[ApiError] = []

    def run(self) -> None:
        with Client(self._url, retrying=NO_RETRIES) as client:
            for turn in range(1_000_000):
                name = f"{self._number}-{turn}"
                try:
                    client.put_item(name, HEAT | {"title": name})
                    self.items.append(name)
                    client.add_events(name, [name])
                    self.sessions.append(name)
                except ConnectionFailedError:
                    return
                except ApiError as error:
                    self.strange.append(error)
                    return


def test_sigterm_amid_requests_and_writes(tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Requests whose bodies are still to come are answered, and those that come on open connections as the signal does.

    A write is acknowledged and in the files, or unanswered; then the process ends with 0.
    """
    state = tmp_path / "state"
    with serve(tiny_bundle, state) as service:
        writers = [Writer(service.url, number) for number in range(WRITERS)]
        threads = [threading.Thread(target=writer.run) for writer in writers]
        for thread in threads:
            thread.start()
        wait_until(lambda: all(len(writer.sessions) > 2 for writer in writers), "all writers are at work")
        answers, late = asyncio.run(stop_amid_requests(service))
        answered = time.monotonic()
        assert service.process.wait(SHUTDOWN_SECONDS) == 0
        ended = time.monotonic() - answered
        for thread in threads:
            thread.join()

    assert [answer.status if answer else None for answer in answers] == [200] * CONNECTIONS
    assert [answer.status if answer else None for answer in late] == [200] * CONNECTIONS
    assert {answer.headers.get("connection") for answer in answers if answer} == {"close"}
    items = {item_id for writer in writers for item_id in writer.items}
    sessions = {session_id for writer in writers for session_id in writer.sessions}
    assert [str(error) for writer in writers for error in writer.strange] == []
    for written, name, table in ((items, "catalogue", "items"), (sessions, "sessions", "sessions")):
        kept = kept_ids(state / f"{name}.sqlite3", table)
        assert written <= kept
        assert len(kept - written) <= WRITERS
    assert "Traceback" not in service.output
    show(
        pytestconfig,
        f"{len(answers)} requests in flight and {len(late)} on open connections are answered after SIGTERM, "
        f"{len(items)} items and {len(sessions)} sessions acknowledged and kept; the process ends {ended:.2f} s after "
        "the last answer",
    )


def kept_ids(path: Path, table: str) -> set[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {each for (each,) in connection.execute(f"SELECT id FROM {table}")}
    finally:
        connection.close()
