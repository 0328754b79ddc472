"""Recommendations beyond the concurrency limit are refused; other requests are not."""

import asyncio
import json
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from llmemb_service.http.middleware.limits import ConcurrencyLimit
from llmemb_service.http.middleware.stack import with_concurrency_limit
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings

ORIGIN = "https://shop.example"


class Held:
    """An app that reads the body, and answers when it is let."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        self.running += 1
        await self.go_on.wait()
        self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})


class Asked:
    """A request under way, and what was answered."""

    def __init__(self, app: ConcurrencyLimit, path: str = "/recommend", *, whole: bool = True, **headers: str) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.parts: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.parts.put_nowait({"type": "http.request", "body": b"{", "more_body": not whole})
        self.sent: list[MutableMapping[str, Any]] = []
        self.task = asyncio.create_task(app(self.scope, self.parts.get, self._send))

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def answered(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}


async def others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def limited(app: Held, metrics: Metrics, **settings: Any) -> ConcurrencyLimit:
    return with_concurrency_limit(app, Settings(bundle=Path(), max_concurrent_recommendations=2, **settings), metrics)


def test_what_comes_past_the_bound_is_refused() -> None:
    """With the headers of every answer, its own id, and when to come again; it is counted, and room is room again."""

    async def run() -> None:
        app, metrics = Held(), Metrics()
        bound = limited(app, metrics)
        running = [Asked(bound), Asked(bound, "/recommend/batch")]
        await others_run()
        request_id = str(uuid.uuid4())
        refused, others = Asked(bound, x_request_id=request_id), Asked(bound, "/items/1")
        await others_run()

        assert refused.status == 429
        assert refused.answered["retry-after"] == "1"
        assert refused.answered["x-request-id"] == request_id
        assert refused.answered["x-content-type-options"] == "nosniff"
        assert refused.answered["content-length"] == str(len(refused.sent[1]["body"]))
        problem = json.loads(refused.sent[1]["body"])
        assert (problem["code"], problem["instance"]) == ("overloaded", f"urn:uuid:{request_id}")
        counted = 'http_server_request_duration_seconds_count{http_request_method="POST",'
        counted += 'http_response_status_code="429",http_route="/recommend"} 1.0'
        assert counted in metrics.exposition().decode()
        assert others.status is None
        assert app.running == 3

        app.go_on.set()
        await asyncio.gather(*(each.task for each in (*running, others)))
        again = Asked(bound)
        await again.task
        assert [each.status for each in (*running, again)] == [200] * 3

    asyncio.run(run())


def test_body_that_comes_slowly_takes_no_place() -> None:
    """It counts from when it is there, and gives its place back also when it is cancelled."""

    async def run() -> None:
        app = Held()
        bound = limited(app, Metrics())
        slow = [Asked(bound, whole=False) for _ in range(5)]
        await others_run()
        quick = [Asked(bound), Asked(bound)]
        await others_run()
        assert app.running == 2

        for each in (*slow, *quick):
            each.task.cancel()
        await asyncio.wait([each.task for each in (*slow, *quick)])
        again = [Asked(bound) for _ in range(3)]
        await others_run()
        assert [each.status for each in again] == [None, None, 429]
        app.go_on.set()
        await asyncio.wait([each.task for each in again])

    asyncio.run(run())


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://other.example", None)])
def test_page_may_read_a_refusal(origin: str, allowed: str | None) -> None:
    """Of an origin that is let in."""

    async def run() -> None:
        app = Held()
        bound = limited(app, Metrics(), cors_origins=(ORIGIN,))
        running = [Asked(bound), Asked(bound)]
        await others_run()
        refused = Asked(bound, origin=origin)
        await others_run()

        assert refused.status == 429
        assert refused.answered.get("access-control-allow-origin") == allowed
        app.go_on.set()
        await asyncio.wait([each.task for each in running])

    asyncio.run(run())
