"""Both clients against a service that fails on demand: requests sent, retries, errors raised."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from llmemb.client import (
    AsyncClient,
    BusyError,
    Client,
    ConnectionFailedError,
    NotFoundError,
    Retrying,
    UnexpectedAnswerError,
)
from llmemb.client.calls import Call

Script = list[httpx2.Response | httpx2.RequestError]
RECOMMENDED = {"bundle_id": "b", "items": [], "fallback": "popular", "a_member_of_tomorrow": 1}
SESSION = {"session_id": "s", "history": ["1"], "expires_in_seconds": 9}


class Stage:
    """A service that plays a script, and a clock that only its client's sleep moves."""

    def __init__(self, *script: httpx2.Response | httpx2.RequestError) -> None:
        self.script = list(script)
        self.requests: list[httpx2.Request] = []
        self.now = 0.0
        self.waits: list[float] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        outcome = self.script.pop(0)
        if isinstance(outcome, httpx2.RequestError):
            raise outcome
        return outcome

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def options(self) -> dict[str, Any]:
        return {"transport": httpx2.MockTransport(self.answer), "clock": lambda: self.now, "retrying": Retrying(seed=1)}


def send_and_wait(stage: Stage, call: Call[Any], **options: Any) -> Any:
    with Client("http://llmemb.test/here/", sleep=stage.sleep, **stage.options() | options) as client:
        return client.send(call)


def send_and_await(stage: Stage, call: Call[Any], **options: Any) -> Any:
    async def run() -> Any:
        async with AsyncClient("http://llmemb.test/here/", sleep=stage.sleep_async, **stage.options() | options) as c:
            return await c.send(call)

    return asyncio.run(run())


Send = Callable[..., Any]


@pytest.fixture(params=[send_and_wait, send_and_await], ids=["Client", "AsyncClient"])
def send(request: pytest.FixtureRequest) -> Send:
    """Sends a call by one of the two clients."""
    sending: Send = request.param
    return sending


def refusal(status: int, retry_after: str | None = None) -> httpx2.Response:
    return httpx2.Response(status, headers={"Retry-After": retry_after} if retry_after else {})


def good(body: object) -> httpx2.Response:
    return httpx2.Response(200, json=body)


def test_call_is_sent_with_key_and_request_id(send: Send) -> None:
    """Under the base URL's path, as JSON; the answer may have members that are not known yet."""
    stage = Stage(good(RECOMMENDED))
    answer = send(stage, Client.recommend([], k=3), api_key="secret")
    request = stage.requests[0]

    assert (answer.bundle_id, answer.fallback) == ("b", "popular")
    assert (request.method, str(request.url)) == ("POST", "http://llmemb.test/here/recommend")
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Content-Type"] == "application/json"
    assert request.content == b'{"history":[],"k":3}'
    assert uuid.UUID(request.headers["X-Request-Id"]).version == 4


def test_id_with_slashes_stays_one_segment(send: Send) -> None:
    """On the wire, where a server reads it."""
    stage = Stage(refusal(404), refusal(404))
    for item_id in ("a/b c", ".."):
        with pytest.raises(NotFoundError):
            send(stage, Client.get_item(item_id))

    assert [request.url.raw_path for request in stage.requests] == [b"/here/items/a%2Fb%20c", b"/here/items/%2E%2E"]


def test_call_is_sent_again_until_it_is_answered(send: Send) -> None:
    """After 429, 503 and a broken connection, each time no sooner than asked, under one request id."""
    until = httpx2.Response(
        503, headers={"Retry-After": "Sun, 06 Nov 1994 12:00:05 GMT", "Date": "Sun, 06 Nov 1994 12:00:00 GMT"}
    )
    stage = Stage(refusal(429, "2"), until, httpx2.ReadError("broken"), refusal(503), good(RECOMMENDED))
    answer = send(stage, Client.recommend([]))

    assert answer.bundle_id == "b"
    assert [int(wait) for wait in stage.waits] == [2, 5, 0, 0]
    assert len({request.headers["X-Request-Id"] for request in stage.requests}) == 1
    assert len({request.content for request in stage.requests}) == 1


def test_failure_that_stays_is_raised(send: Send) -> None:
    """The last one, when the attempts are used up."""
    stage = Stage(*(refusal(429, "1") for _ in range(3)))
    with pytest.raises(BusyError) as raised:
        send(stage, Client.recommend([]), retrying=Retrying(max_retries=2))

    assert raised.value.retry_after_seconds == 1
    assert len(stage.waits) == 2


def test_wait_past_the_deadline_is_not_begun(send: Send) -> None:
    """The caller gets the error immediately when a retry would be too late."""
    stage = Stage(refusal(503, "3600"))
    with pytest.raises(Exception, match="503"):
        send(stage, Client.recommend([]))

    assert stage.waits == []


def test_events_are_not_sent_twice(send: Send) -> None:
    """Not where the first may have been taken; after a refusal they are."""
    lost = Stage(httpx2.ReadTimeout("late"))
    with pytest.raises(ConnectionFailedError, match="POST /sessions/s/events: late"):
        send(lost, Client.add_events("s", ["1"]))
    refused = Stage(refusal(429, "1"), httpx2.ConnectError("refused"), good(SESSION))
    session = send(refused, Client.add_events("s", ["1"]))

    assert len(lost.requests) == 1
    assert session.history == ["1"]


def test_probe_is_asked_once(send: Send) -> None:
    """That the service is not ready is what one wants to know."""
    stage = Stage(refusal(503, "1"))
    with pytest.raises(Exception, match="503"):
        send(stage, Client.ready())

    assert stage.waits == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: httpx2.Response(200, text="<html>Welcome</html>"), "the body is not what this route answers"),
        (lambda: good({"items": []}), "bundle_id"),
        (lambda: httpx2.Response(302, headers={"Location": "/login"}), "a redirection"),
    ],
)
def test_answer_of_something_else_is_an_error(send: Send, answer: Callable[[], httpx2.Response], said: str) -> None:
    """Another server may listen there."""
    with pytest.raises(UnexpectedAnswerError, match=said):
        send(Stage(answer()), Client.recommend([]))


def test_long_call_has_a_timeout_of_its_own(send: Send) -> None:
    """Loading a bundle takes longer than other calls."""
    swapped = {
        "bundle_id": "b",
        "previous_bundle_id": "a",
        "embedded_items": 0,
        "replay": {"requests": 0, "overlap_at_10": None},
    }
    stage = Stage(good(swapped), good({"status": "alive"}))
    send(stage, Client.load_bundle("next", timeout_seconds=500))
    send(stage, Client.health(), timeout_seconds=7)

    assert [request.extensions["timeout"]["read"] for request in stage.requests] == [500, 7]


def item(number: int) -> dict[str, Any]:
    return {"id": str(number), "attributes": {}, "categories": [], "available": True, "source": "bundle"}


def pages() -> Stage:
    return Stage(
        *(
            good({"bundle_id": "b", "items": [item(i) for i in numbers], "next_cursor": cursor})
            for numbers, cursor in [((1, 2), "c/2"), ((), "c/3"), ((3,), None)]
        )
    )


def listed_at_once(stage: Stage) -> list[str]:
    with Client("http://llmemb.test", **stage.options()) as client:
        return [item.id for item in client.list_items("heat", page_size=2)]


def listed_in_a_loop(stage: Stage) -> list[str]:
    async def run() -> list[str]:
        async with AsyncClient("http://llmemb.test", **stage.options()) as client:
            return [item.id async for item in client.list_items("heat", page_size=2)]

    return asyncio.run(run())


@pytest.mark.parametrize("listed", [listed_at_once, listed_in_a_loop])
def test_list_items_goes_through_all_pages(listed: Callable[[Stage], list[str]]) -> None:
    """An empty page is not the last one; a page is fetched when the one before is used up."""
    stage = pages()

    assert listed(stage) == ["1", "2", "3"]
    assert [dict(request.url.params) for request in stage.requests] == [
        {"query": "heat", "limit": "2"},
        {"query": "heat", "limit": "2", "cursor": "c/2"},
        {"query": "heat", "limit": "2", "cursor": "c/3"},
    ]
