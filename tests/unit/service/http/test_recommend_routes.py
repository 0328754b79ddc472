"""`/recommend`, `/recommend/batch` and `/sessions`, with real parts behind them and no encoder process."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from llmemb.api.base import Problem
from llmemb.api.recommend import RecommendBatchResponse, RecommendRequest, RecommendResponse, SessionResponse
from llmemb_service.http.middleware.stack import add_middleware
from llmemb_service.http.routes import recommend, sessions
from llmemb_service.http.routes.lean_route import LeanMiddleware
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import add_problem_handlers
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import RemoveItem
from llmemb_service.storage.sqlite.sessions import SqliteSessions
from tests.support.recommending import Recommending, recommending

JSON = {"Content-Type": "application/json"}


@dataclass
class Served:
    """An app with a recommender for every session but "other", which another bundle answers."""

    client: TestClient
    parts: Recommending
    other: Recommending

    def recommend(self, **body: Any) -> RecommendResponse:
        answer = self.client.post("/recommend", json=body)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == set(RecommendResponse.model_fields)
        return RecommendResponse.model_validate_json(answer.content)

    def problem(self, path: str, body: Any, status: int) -> Problem:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return Problem.model_validate_json(answer.content)


@pytest.fixture
def served(tiny_bundle: Path, full_bundle: Path, tmp_path: Path) -> Iterator[Served]:
    """Serve two bundles and sessions in SQLite."""
    opened: list[Recommending] = []
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits: dict[str, Any] = {"max_history_items": 20, "max_k": 50, "max_client_batch_size": 3}
        kept = SqliteSessions(tmp_path / "sessions.sqlite3", max_items=10, ttl_seconds=60)
        async with recommending(tiny_bundle, metrics, **limits) as parts, recommending(full_bundle) as other:
            opened.extend((parts, other))
            engines = [
                SimpleNamespace(bundle=each.bundle, recommender=each.recommender, catalogue=each.catalogue)
                for each in opened
            ]
            versions = SimpleNamespace(for_session=lambda session_id: engines[session_id == "other"])
            app.state.runtime = SimpleNamespace(versions=versions, storage=SimpleNamespace(sessions=kept))
            app.state.settings = parts.settings
            yield
            await kept.close()

    app = FastAPI(lifespan=lifespan)
    app.include_router(recommend.router)
    app.include_router(sessions.router)
    add_problem_handlers(app)
    app.add_middleware(LeanMiddleware, router=recommend.router)
    add_middleware(app, Settings(bundle=tiny_bundle), metrics)
    with TestClient(app) as client:
        yield Served(client, *opened)


def test_answer_is_what_the_model_describes(served: Served) -> None:
    """Put together from texts, it says what pydantic would have written, with items' attributes as they are stored."""
    answer = served.client.post("/recommend", json={"history": ["1", "2"], "k": 3, "explain": True})
    parsed = RecommendResponse.model_validate_json(answer.content)

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(parsed.model_dump_json())
    assert parsed.bundle_id == served.parts.bundle.manifest.id
    assert parsed.fallback is None
    for item in parsed.items:
        stored = served.parts.snapshot.attributes_json(served.parts.bundle.items.rows[item.id])
        assert item.attributes == json.loads(stored)
        assert item.reasons is not None
        assert sorted((reason.position, reason.id) for reason in item.reasons) == [(0, "1"), (1, "2")]


def test_no_history_is_answered_by_popularity(served: Served) -> None:
    """And the answer says so."""
    answer = served.recommend(history=[], k=2)

    assert answer.fallback == "popular"
    assert [item.reasons for item in answer.items] == [None, None]


def test_items_by_attributes_and_filters(served: Served) -> None:
    """All that a body can ask for."""
    attributes = {"title": "Heat", "genres": ["Action"]}
    history = ["1", {"attributes": attributes}]
    answer = served.recommend(
        history=history, k=50, filters={"categories_any": ["Drama"], "deny": ["1"]}, exclude_history=False, explain=True
    )

    assert answer.items
    for item in answer.items:
        assert "Drama" in item.attributes["genres"]
        assert item.id != "1"
        assert item.reasons is not None
        assert {(reason.position, reason.id) for reason in item.reasons} == {(0, "1"), (1, None)}


def test_unknown_ids_are_listed_with_their_places(served: Served) -> None:
    """Once by id, and wherever they stand."""
    problem = served.problem("/recommend", {"history": ["x", "1", "y", "x"]}, 422)

    assert problem.code == "unknown_item"
    assert problem.model_extra is not None
    assert problem.model_extra["unknown_item_ids"] == ["x", "y"]
    assert problem.errors is not None
    assert [fault.loc for fault in problem.errors] == [["body", "history", place] for place in (0, 2, 3)]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"history": [1]}', 422, "invalid_request"),
        (b'{"history": [], "x": 1}', 422, "invalid_request"),
        (b'{"history": [], "k": "1"}', 422, "invalid_request"),
        (b'{"history": [], "session_id": "a/b"}', 422, "invalid_request"),
        (b'{"history": ["\\ud800"]}', 422, "invalid_request"),
        (b'{"history": [], "k": 51}', 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b"", 422, "invalid_request"),
    ],
)
def test_a_faulty_body_is_told_of_as_on_other_routes(served: Served, content: bytes, status: int, code: str) -> None:
    """The fast path for valid bodies leaves the others to FastAPI."""
    answer = served.client.post("/recommend", content=content, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_of_another_type_is_refused(served: Served) -> None:
    """JSON by any of its names is not."""
    content = json.dumps({"history": ["1"]})
    types = {"text/plain": 415, "application/json; charset=utf-8": 200, "application/problem+json": 200}

    for content_type, status in types.items():
        answer = served.client.post("/recommend", content=content, headers={"Content-Type": content_type})
        assert answer.status_code == status


def test_description_has_bodies_and_answers(served: Served) -> None:
    """Although the answers are put together by hand."""
    description = served.client.get("/openapi.json").json()
    operation = description["paths"]["/recommend"]["post"]

    body = operation["requestBody"]["content"]["application/json"]["schema"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert body["$ref"].endswith(RecommendRequest.__name__)
    assert answer["$ref"].endswith(RecommendResponse.__name__)


def test_a_batch_answers_as_one_by_one(served: Served) -> None:
    """In the order of the requests, each by the bundle of its session."""
    served.client.post("/sessions/other/events", json={"events": [{"item_id": "5"}]})
    bodies = [{"history": ["1", "2"], "k": 3, "explain": True}, {"session_id": "other"}, {"history": [], "k": 1}]
    answer = served.client.post("/recommend/batch", json={"requests": bodies})
    batch = RecommendBatchResponse.model_validate_json(answer.content)

    for body, result in zip(bodies, batch.results, strict=True):
        alone = served.recommend(**body)
        assert (result.bundle_id, result.fallback) == (alone.bundle_id, alone.fallback)
        assert [item.id for item in result.items] == [item.id for item in alone.items]
    assert batch.results[1].bundle_id == served.other.bundle.manifest.id
    assert batch.results[1].fallback is None


def test_a_batch_is_all_or_nothing(served: Served) -> None:
    """Every unknown id has its place, and too many requests are refused."""
    good, bad = {"history": ["1"]}, {"history": ["1", "x"]}
    unknown = served.problem("/recommend/batch", {"requests": [bad, good, bad]}, 422)
    many = served.problem("/recommend/batch", {"requests": [good] * 4}, 422)

    assert unknown.errors is not None
    assert [fault.loc for fault in unknown.errors] == [["body", "requests", place, "history", 1] for place in (0, 2)]
    assert many.errors is not None
    assert [fault.loc for fault in many.errors] == [["body", "requests"]]
    assert not served.parts.recommender.recent


def test_a_session_is_kept_read_and_forgotten(served: Served) -> None:
    """It recommends as its history does; what the catalogue no longer holds is passed over."""
    assert served.client.get("/sessions/s").status_code == 404
    assert served.recommend(session_id="s").fallback == "popular"
    for item_ids in (["1", "2"], ["3"]):
        events = [{"item_id": item_id} for item_id in item_ids]
        answer = served.client.post("/sessions/s/events", json={"events": events})
    session = SessionResponse.model_validate_json(answer.content)
    assert (session.session_id, session.history) == ("s", ["1", "2", "3"])
    assert 0 < session.expires_in_seconds <= 60
    assert served.client.get("/sessions/s").json()["history"] == ["1", "2", "3"]
    assert served.recommend(session_id="s") == served.recommend(history=["1", "2", "3"])

    served.parts.change(RemoveItem("2"))
    assert served.recommend(session_id="s") == served.recommend(history=["1", "3"])
    assert [served.client.delete("/sessions/s").status_code for _ in range(2)] == [204, 404]
    assert served.recommend(session_id="s").fallback == "popular"


def test_events_must_be_of_known_items(served: Served) -> None:
    """None is kept where one is not; the session's id has a form."""
    events = [{"item_id": item_id} for item_id in ("1", "x", "y", "x")]
    problem = served.problem("/sessions/s/events", {"events": events}, 422)

    assert problem.code == "unknown_item"
    assert problem.errors is not None
    assert [fault.loc for fault in problem.errors] == [["body", "events", place, "item_id"] for place in (1, 2, 3)]
    assert served.client.get("/sessions/s").status_code == 404
    for call in ("get", "delete"):
        assert getattr(served.client, call)("/sessions/a%20b").status_code == 422


def test_an_answer_is_counted_for_its_bundle(served: Served) -> None:
    """And says where its time went."""
    answer = served.client.post("/recommend", json={"history": ["1"]})
    timing = answer.headers["Server-Timing"]

    assert "rank;dur=" in timing
    assert "queue;dur=" in timing
    assert served.parts.metric(f'llmemb_bundle_requests_total{{bundle="{served.parts.bundle.manifest.id}"}}') == 1
