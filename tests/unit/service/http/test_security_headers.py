"""Headers for browsers, on every answer."""

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from llmemb_service.http.middleware.headers import POLICY_HEADER, page_policy
from llmemb_service.http.routes.pages import ASSETS_PATH, router, swagger_assets
from tests.support.small_app import small_app


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = small_app(max_body_bytes=10)
    app.include_router(router)
    app.mount(ASSETS_PATH, swagger_assets())
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/healthz"), ("GET", "/nowhere"), ("GET", "/admin/broken"), ("POST", "/recommend"), ("GET", "/docs")],
)
def test_every_answer_has_the_headers(client: TestClient, method: str, path: str) -> None:
    """Good ones, pages and errors from every layer."""
    headers = client.request(method, path, content=b"x" * 11).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers[POLICY_HEADER].startswith("default-src 'none'; frame-ancestors 'none';")


def test_files_may_be_kept(client: TestClient) -> None:
    """They bring an ETag, and are asked for again, since another version may have others."""
    headers = client.get(f"{ASSETS_PATH}/swagger-ui.css").headers

    assert "ETag" in headers
    assert headers["Cache-Control"] == "no-cache"


def test_policy_of_the_docs_allows_its_own_script_and_no_other(client: TestClient) -> None:
    """The one inline script by its hash; everything else from here."""
    page = client.get("/docs")
    script = re.findall(r"<script>(.*?)</script>", page.text, flags=re.DOTALL)
    policy = page.headers[POLICY_HEADER]
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()

    assert len(script) == 1
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "http" not in policy


def test_policy_of_a_page_without_scripts() -> None:
    """Only files."""
    assert "script-src 'self';" in page_policy("<p>").replace(" ;", ";")
