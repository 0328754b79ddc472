"""Each request has an id, is timed and counted, and is answered whatever happens."""

import uuid
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from llmemb_service.problems import PROBLEMS
from tests.support.small_app import small_app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(small_app()) as client:
        yield client


def exposition(client: TestClient) -> str:
    text: bytes = client.app.state.metrics.exposition()  # type: ignore[attr-defined]
    return text.decode()


def counted(text: str) -> dict[tuple[str, str, str], float]:
    """How many requests were observed: by method, route and status."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        (
            each.labels["http_request_method"], each.labels["http_route"], each.labels["http_response_status_code"]
        ): each.value
        for each in samples
        if each.name == "http_server_request_duration_seconds_count"
    }  # fmt: skip


def test_request_id_of_the_client_is_kept_when_it_is_a_uuid(client: TestClient) -> None:
    """With or without dashes."""
    request_id = uuid.uuid4()
    response = client.post("/recommend", json={}, headers={"X-Request-Id": request_id.hex})

    assert response.headers["X-Request-Id"] == str(request_id)
    assert response.json() == {"id": str(request_id)}


@pytest.mark.parametrize("sent", ["", "no uuid", "x" * 5000])
def test_request_id_of_another_form_is_replaced(client: TestClient, sent: str) -> None:
    """A value that is not a UUID is not echoed."""
    answered = client.post("/recommend", json={}, headers={"X-Request-Id": sent}).headers["X-Request-Id"]

    assert str(uuid.UUID(answered)) == answered != sent


@pytest.mark.parametrize("path", ["/admin/broken", "/admin/strange"])
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


def test_requests_are_counted_by_template_and_status(client: TestClient) -> None:
    """What a client makes up is no label."""
    client.get("/admin/broken")
    client.get("/made-up")
    client.request("FLY", "/recommend")
    client.post("/recommend", json={})
    text = exposition(client)

    assert counted(text) == {
        ("GET", "/admin/{name}", "500"): 1.0,
        ("GET", "unmatched", "404"): 1.0,
        ("_OTHER", "/recommend", "405"): 1.0,
        ("POST", "/recommend", "200"): 1.0,
    }
    assert 'llmemb_bundle_requests_total{bundle="sha-1"} 1.0' in text
    assert "made-up" not in text
    assert "http_server_active_requests 0.0" in text


def test_problems_are_counted_by_code(client: TestClient) -> None:
    """Each counter starts at 0, wherever the problem arose: a route, reading the body, or the last-resort handler."""
    before = exposition(client)
    client.get("/admin/broken")
    client.get("/made-up")
    client.get("/made-up")
    text = exposition(client)

    assert [before.count(f'llmemb_problems_total{{code="{code}"}} 0.0') for code in PROBLEMS] == [1] * len(PROBLEMS)
    assert 'llmemb_problems_total{code="internal"} 1.0' in text
    assert 'llmemb_problems_total{code="not_found"} 2.0' in text
    assert 'llmemb_problems_total{code="storage"} 0.0' in text


def test_server_timing_has_the_total_and_its_parts(client: TestClient) -> None:
    """Milliseconds; an answer without parts has the total alone."""
    timing = client.post("/recommend", json={}).headers["Server-Timing"]
    parts = dict(part.split(";dur=") for part in timing.split(", "))

    assert list(parts) == ["total", "queue", "rank"]
    assert (parts["queue"], parts["rank"]) == ("1.00", "2.00")
    assert float(parts["total"]) > 0
    assert client.get("/made-up").headers["Server-Timing"].count(";") == 1
