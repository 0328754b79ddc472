"""API keys: which requests are accepted, and how the others are refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from llmemb_service.guard.keys import Role
from tests.support.key_files import add_key
from tests.support.service import wait_until
from tests.support.small_app import small_app


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def keys(keys_file: Path) -> dict[Role, str]:
    return {role: add_key(keys_file, role.value, role) for role in Role}


@pytest.fixture
def client(keys: dict[Role, str], keys_file: Path) -> Iterator[TestClient]:
    with TestClient(small_app(api_keys_file=keys_file)) as client:
        yield client


def exposition(client: TestClient) -> str:
    text: bytes = client.app.state.metrics.exposition()  # type: ignore[attr-defined]
    return text.decode()


@pytest.mark.parametrize("header", ["Authorization", "authorization"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer_key_lets_in(client: TestClient, keys: dict[Role, str], header: str, scheme: str) -> None:
    """As OpenAI's clients send it."""
    headers = {header: f"{scheme} {keys[Role.RECOMMEND]}"}

    assert client.post("/recommend", json={}, headers=headers).status_code == 200


def test_key_in_a_header_of_its_own_lets_in(client: TestClient, keys: dict[Role, str]) -> None:
    """`X-API-Key`."""
    assert client.put("/items/1", headers={"X-API-Key": keys[Role.EMBED]}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic c2hvcDpzZWNyZXQ="},
        {"Authorization": "Bearer llmemb_wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "x" * 10_000},
    ],
)
def test_request_without_a_known_key_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    """401 says how to send one, and does not repeat what was sent."""
    response = client.post("/recommend", json={}, headers=headers)

    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "wrong" not in response.text


def test_key_without_the_role_is_told_which_it_needs(client: TestClient, keys: dict[Role, str]) -> None:
    """403; an admin's key does everything."""
    response = client.put("/items/1", headers={"X-API-Key": keys[Role.RECOMMEND]})

    assert response.status_code == 403
    assert response.json()["code"] == "forbidden"
    assert response.json()["detail"] == "the API key 'recommend' lacks the role 'embed'"
    assert client.put("/items/1", headers={"X-API-Key": keys[Role.ADMIN]}).status_code == 200
    assert client.get("/admin/slow", headers={"X-API-Key": keys[Role.EMBED]}).status_code == 403


def test_open_paths_need_no_key(client: TestClient) -> None:
    """What watches over the service has none."""
    assert client.get("/healthz").status_code == 200
    assert client.get("/nowhere").status_code == 401


def test_answers_are_counted(client: TestClient, keys: dict[Role, str]) -> None:
    """By the key's name, and failures by their reason."""
    client.post("/recommend", json={}, headers={"X-API-Key": keys[Role.RECOMMEND]})
    client.put("/items/1", headers={"X-API-Key": keys[Role.RECOMMEND]})
    client.put("/items/1", headers={"X-API-Key": "wrong"})
    client.put("/items/1")
    text = exposition(client)

    assert 'llmemb_key_requests_total{key="recommend"} 2.0' in text
    for reason in ("missing", "unknown", "role"):
        assert f'llmemb_auth_failures_total{{reason="{reason}"}} 1.0' in text


def test_new_key_works_and_a_revoked_one_does_not(keys_file: Path) -> None:
    """Without a restart, within seconds."""
    old = add_key(keys_file, "shop", Role.RECOMMEND)
    with TestClient(small_app(api_keys_file=keys_file)) as client:

        def status(key: str) -> int:
            return client.post("/recommend", json={}, headers={"X-API-Key": key}).status_code

        assert status(old) == 200
        keys_file.unlink()
        new = add_key(keys_file, "shop", Role.RECOMMEND)
        wait_until(lambda: status(new) == 200, "the new key is taken")
        assert status(old) == 401


def test_refusal_reads_nothing_of_the_body(keys: dict[Role, str], keys_file: Path) -> None:
    """The application never asks for it."""
    app = small_app(api_keys_file=keys_file)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/recommend", "raw_path": b"/recommend", "root_path": ""}
    scope |= {"query_string": b"", "headers": [(b"content-length", b"5")], "client": None, "scheme": "http"}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]

    assert sent[0]["status"] == 401
