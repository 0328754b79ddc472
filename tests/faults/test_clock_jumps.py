"""The wall clock set ahead and back while the service runs: nothing that counts time goes wrong."""

import email.utils
import time
from pathlib import Path

import httpx2
import pytest

from llmemb.client import NO_RETRIES, BusyError, Client, DeniedError
from llmemb_service.guard.keys import Role
from tests.support.forked_service import ServiceForks
from tests.support.jumping_clock import JumpingClock
from tests.support.key_files import add_key
from tests.support.load import Load, show
from tests.support.service import HEAT, ServeProcess, shared_encoder_url
from tests.support.waiting import wait_until

MINUTE = 60
HOUR = 3600
TTL = 2 * HOUR
JUMPS = (3 * HOUR, -24 * HOUR, 365 * 24 * HOUR, -HOUR, 0)
"""Ahead of the machine's clock, one after the other."""
WORKS = {
    "recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20),
    "embed": lambda client, number: client.embeddings(f"Film {number % 5}"),
    "put": lambda client, number: client.put_item("put", HEAT | {"title": f"Heat {number}"}),
    "event": lambda client, _: client.add_events("ann", ["1"]),
    "ready": lambda client, _: client.ready(),
}


def seconds_ahead(service: ServeProcess) -> float:
    """By how much the service's clock is ahead, as the date of its answers says."""
    date = email.utils.parsedate_to_datetime(httpx2.get(f"{service.url}/healthz").headers["Date"])
    return date.timestamp() - time.time()


def test_clock_that_jumps(forks: ServiceForks, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Requests go on; sessions, keys, limits, `Retry-After` and the order of changes are as if nothing had been."""
    clock = JumpingClock(tmp_path / "clock")
    keys = tmp_path / "keys.jsonl"
    key = add_key(keys, "shop", *Role)
    limited = add_key(keys, "limited", Role.RECOMMEND, rate_limit_per_minute=1)
    variables = {
        "LLMEMB_ENCODER_URL": shared_encoder_url(),
        "LLMEMB_SESSION_TTL_SECONDS": str(TTL),
        "LLMEMB_API_KEYS_FILE": str(keys),
        "LLMEMB_READINESS_CACHE_SECONDS": "0",
    }
    with (
        ServeProcess(tiny_bundle, tmp_path / "state", **variables, **clock.variables) as service,
        Client(service.url, api_key=key) as client,
        Load(service.url, WORKS, api_key=key) as load,
    ):
        client.add_events("early", ["1", "2"])
        for turn, jump in enumerate(JUMPS):
            clock.set(jump)
            wait_until(lambda jump=jump: abs(seconds_ahead(service) - jump) < 60, "the clock has jumped")
            load.wait_for_each(WORKS, good=True, since=time.monotonic(), number=3)
            assert client.ready().status == "ready"

            early = client.get_session("early")
            assert early.history == ["1", "2"]
            assert TTL - HOUR < early.expires_in_seconds <= TTL
            assert client.add_events(f"turn-{turn}", ["3"]).expires_in_seconds == TTL

            client.put_item("order", HEAT | {"title": f"Heat {turn}"})
            assert client.get_item("order").attributes["title"] == f"Heat {turn}"

            told = retry_after(service, limited)
            assert 0 < told <= 2 * MINUTE

            late = add_key(keys, f"turn-{turn}", Role.RECOMMEND)
            wait_until(lambda late=late: is_let_in(service, late), "the new key is in force")

        titles = [f"Heat {number}" for number in range(len(load.answers("put")) + 2)]
        assert client.get_item("put").attributes["title"] in titles[-4:]

    for name in WORKS:
        assert not load.failed(name), name
    again = forks.start(tiny_bundle, variables | {"LLMEMB_STATE_DIR": str(tmp_path / "state")})
    with Client(again.url, api_key=key) as client:
        for name in ("early", *(f"turn-{turn}" for turn in range(len(JUMPS)))):
            assert client.get_session(name).history
        assert client.get_item("order").attributes["title"] == f"Heat {len(JUMPS) - 1}"
    again.kill()
    answers = sum(len(load.answers(name)) for name in WORKS)
    show(
        pytestconfig,
        f"{len(JUMPS)} jumps of the clock: {answers} requests, none failed; sessions, keys and limits hold",
    )


def retry_after(service: ServeProcess, key: str) -> float:
    """Exceed a key's limit of one request a minute, and return its `Retry-After` in seconds."""
    with Client(service.url, api_key=key, retrying=NO_RETRIES) as client:
        for _ in range(10):
            try:
                client.recommend(["1"])
            except BusyError as error:
                return error.retry_after_seconds or 0.0
    pytest.fail("the key's limit does not hold")


def is_let_in(service: ServeProcess, key: str) -> bool:
    with Client(service.url, api_key=key, retrying=NO_RETRIES) as client:
        try:
            client.recommend(["1"])
        except DeniedError:
            return False
    return True
