"""The layers in their order: who is refused by whom, and what browsers may do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from llmemb.errors import ConfigError
from llmemb_service.guard.keys import Role
from tests.support.key_files import add_key
from tests.support.small_app import small_app

ORIGIN = "https://shop.example"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def browser(keys_file: Path) -> Iterator[TestClient]:
    """A client of a service with keys that lets one origin in."""
    add_key(keys_file, "shop", Role.RECOMMEND)
    with TestClient(small_app(api_keys_file=keys_file, cors_origins=(ORIGIN,))) as client:
        yield client


def test_preflight_needs_no_key(browser: TestClient) -> None:
    """It names the method and the headers that the page may use."""
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    response = browser.options("/recommend", headers=asked)

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert browser.options("/recommend", headers=asked | {"Origin": "https://other.example"}).status_code == 400


def test_page_may_read_errors_too(browser: TestClient) -> None:
    """Of an origin that is let in; the headers that it may read are named."""
    refused = browser.post("/recommend", json={}, headers={"Origin": ORIGIN})

    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-Id" in refused.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in browser.get("/healthz", headers={"Origin": "https://x.example"}).headers


def test_cors_is_off_unless_set() -> None:
    """No header of it, and a preflight is a method that the path does not take."""
    with TestClient(small_app()) as client:
        preflight = client.options("/recommend", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

        assert preflight.status_code == 405
        assert "Access-Control-Allow-Origin" not in preflight.headers


def test_key_is_asked_before_the_body_is_looked_at(keys_file: Path) -> None:
    """A stranger learns nothing of the body's limit."""
    key = add_key(keys_file, "shop", Role.RECOMMEND)
    with TestClient(small_app(api_keys_file=keys_file, max_body_bytes=10)) as client:
        assert client.post("/recommend", content="x" * 11).status_code == 401
        assert client.post("/recommend", content="x" * 11, headers={"X-API-Key": key}).status_code == 413


def test_bad_file_of_keys_stops_the_start(keys_file: Path) -> None:
    """Not at the first request."""
    keys_file.write_text("nonsense")

    with pytest.raises(ConfigError, match="line 1"):
        small_app(api_keys_file=keys_file)
