import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from service.metrics import Metrics
from service.middleware import BodyLimitMiddleware, RequestMiddleware
from service.problem_handlers import add_problem_handlers


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> Iterator[TestClient]:
    """An app with our middleware and routes that echo and break."""
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": request.state.request_id}

    @app.get("/broken/{name}")
    async def broken(name: str) -> None:
        raise RuntimeError("secret internals")

    @app.get("/strange")
    async def strange() -> None:
        raise HTTPException(418, "secret internals")

    add_problem_handlers(app)
    app.add_middleware(BodyLimitMiddleware, max_body_bytes=100)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    with TestClient(app) as client:
        yield client


def test_request_id_of_the_client_is_kept_when_it_is_a_uuid(client: TestClient) -> None:
    """With or without dashes."""
    request_id = uuid.uuid4()
    response = client.post("/echo", json={}, headers={"X-Request-Id": request_id.hex})

    assert response.headers["X-Request-Id"] == str(request_id)
    assert response.json() == {"id": str(request_id)}


@pytest.mark.parametrize("sent", ["", "no uuid", "x" * 5000])
def test_request_id_of_another_form_is_replaced(client: TestClient, sent: str) -> None:
    """What is no UUID is not repeated."""
    answered = client.post("/echo", json={}, headers={"X-Request-Id": sent}).headers["X-Request-Id"]

    assert str(uuid.UUID(answered)) == answered != sent


def test_body_over_the_limit_is_refused_by_its_stated_length(client: TestClient) -> None:
    """413, before it is read."""
    response = client.post("/echo", json={"text": "x" * 100})

    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_body_over_the_limit_is_refused_when_its_length_is_not_stated(client: TestClient) -> None:
    """Chunks are counted as they come."""
    chunks = (b'{"a":"', *[b"x" * 10] * 20, b'"}')
    response = client.post("/echo", content=iter(chunks), headers={"Content-Type": "application/json"})

    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_body_at_the_limit_passes(client: TestClient) -> None:
    """100 bytes of 100."""
    body = json.dumps({"a": "x" * 91}).encode()
    assert len(body) == 100

    assert client.post("/echo", content=body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("path", ["/broken/thing", "/strange"])
def test_unexpected_error_is_a_problem_without_internals(
    client: TestClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The client gets a request id, the log the error under the same id."""
    response = client.get(path)
    problem = response.json()

    assert response.status_code == 500
    assert problem["code"] == "internal"
    assert "secret internals" not in response.text
    assert problem["instance"] == f"urn:uuid:{response.headers['X-Request-Id']}"
    assert response.headers["X-Request-Id"] in caplog.text
    assert "secret internals" in caplog.text


def test_requests_are_counted_by_template_and_status(client: TestClient, metrics: Metrics) -> None:
    """What a client makes up is no label."""
    client.get("/broken/thing")
    client.get("/made-up")
    client.request("FLY", "/echo")
    text = metrics.exposition().decode()

    assert 'llmemb_requests_total{method="GET",route="/broken/{name}",status="500"} 1.0' in text
    assert 'llmemb_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "made-up" not in text
