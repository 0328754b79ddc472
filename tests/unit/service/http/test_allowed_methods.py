"""The methods of a path: OPTIONS names them, a 405 does too, and HEAD is GET without the body."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from llmemb_service.app import create_app
from llmemb_service.settings import Settings
from tests.support.service import make_settings, serving

ALLOWED = {
    "/recommend": "OPTIONS, POST",
    "/items/a%2Fb": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/admin/experiment": "DELETE, OPTIONS, PUT",
    "/sessions/s": "DELETE, GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
    "/docs/assets/favicon-32x32.png": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/": "GET, HEAD, OPTIONS",
}


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server: a test client would not notice a body that HEAD must not have."""
    with serving(make_settings(tiny_bundle, tmp_path_factory.mktemp("methods") / "state")) as (_, url):
        yield url


@pytest.mark.parametrize("path", ALLOWED)
def test_options_names_the_methods(path: str) -> None:
    """And so does the refusal of another one: RFC 9110 asks for all of them, though each is a route of its own."""
    client = TestClient(create_app(Settings(bundle=Path())))

    answer = client.options(path)
    refused = client.request("TRACE", path)

    assert (answer.status_code, answer.content, answer.headers["Allow"]) == (204, b"", ALLOWED[path])
    assert (refused.status_code, refused.headers["Allow"]) == (405, ALLOWED[path])


def test_options_of_no_path_is_not_found() -> None:
    """Nothing is served there."""
    response = TestClient(create_app(Settings(bundle=Path()))).options("/nothing")

    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/healthz", "/readyz", "/info", "/items", "/items?query=harbour", "/items/1", "/items/none", "/map",
     "/v1/models", "/sessions/none", "/openapi.json", "/playground/app.js", "/docs/assets/favicon-32x32.png",
     "/recommend"],
)  # fmt: skip
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    """The same status, type and length; the connection can be used again."""
    with httpx2.Client(base_url=url) as client:
        expected = client.get(path)
        found = client.head(path)
        again = client.get("/healthz")

    assert found.status_code == expected.status_code
    assert found.content == b""
    names = ("content-type", "content-length", "allow")
    assert [found.headers.get(name) for name in names] == [expected.headers.get(name) for name in names]
    assert again.json() == {"status": "alive"}


def test_head_of_the_metrics_is_answered_and_counted_by_its_route(url: str) -> None:
    """Its length differs from GET's, since each request changes the metrics."""
    with httpx2.Client(base_url=url) as client:
        found = client.head("/metrics")
        text = client.get("/metrics").text

    assert (found.status_code, found.content) == (200, b"")
    assert 'http_route="/metrics"' in text
    assert any('"HEAD"' in line and '"/metrics"' in line for line in text.splitlines())
