"""The cache in a real Redis: shared, and never in the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.settings import Settings
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, make_settings, running, wait_until

BODY = {"items": [{"id": "x", "attributes": HEAT}]}


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def settings_with(server: RedisServer, bundle: Path, state_dir: Path) -> Settings:
    return make_settings(
        bundle, state_dir, redis_url=SecretStr(server.url), redis_retry_seconds=0.05, ready_seconds=0
    )  # fmt: skip


def cached(client: TestClient) -> bool:
    response = client.post("/embed_items", json=BODY)
    assert response.status_code == 200, response.text
    return bool(response.json()["embeddings"][0]["cached"])


def test_redis_cache_is_shared_and_expires(redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path) -> None:
    """A second service finds what the first embedded; keys name the bundle and live for a while."""
    with redis_server.client() as redis:
        redis.flushall()
    with running(settings_with(redis_server, tiny_bundle, tmp_path / "one")) as client:
        first = client.post("/embed_items", json=BODY).json()
    with running(settings_with(redis_server, tiny_bundle, tmp_path / "two")) as client:
        second = client.post("/embed_items", json=BODY).json()
    with redis_server.client() as redis:
        keys = redis.keys("*")
        ttl = redis.ttl(keys[0])

    assert [first["embeddings"][0]["cached"], second["embeddings"][0]["cached"]] == [False, True]
    assert second["embeddings"][0]["embedding"] == first["embeddings"][0]["embedding"]
    assert [key.decode().rpartition(":")[0] for key in keys] == [f"llmemb:{first['bundle_id']}"]
    assert 0 < ttl <= 7 * 24 * 3600


def test_redis_value_that_is_no_vector_is_a_miss(redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path) -> None:
    """It is embedded again and replaced."""
    with running(settings_with(redis_server, tiny_bundle, tmp_path / "state")) as client:
        cached(client)
        with redis_server.client() as redis:
            redis.set(redis.keys("*")[0], b"half")

        assert not cached(client)
        assert cached(client)


def test_redis_stopped_and_started_fails_no_request(tiny_bundle: Path, tmp_path: Path) -> None:
    """Without it all is answered and readiness says so; it is used again by itself."""
    with RedisServer() as server, running(settings_with(server, tiny_bundle, tmp_path / "state")) as client:
        cached(client)
        assert cached(client)
        server.stop()

        assert not cached(client)
        assert client.post("/recommend", json={"history": ["1", {"attributes": HEAT}]}).status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert "Redis does not answer" in ready.json()["checks"]["cache"]
        assert "llmemb_redis_errors_total 0.0" not in client.get("/metrics").text

        server.start()
        cached(client)
        wait_until(lambda: cached(client), "Redis is used again")
        assert client.get("/readyz").json()["status"] == "ready"


def test_service_starts_without_its_redis(tiny_bundle: Path, tmp_path: Path) -> None:
    """A cache is no reason not to serve."""
    with running(settings_with(RedisServer(), tiny_bundle, tmp_path / "state")) as client:
        assert not cached(client)
        assert client.get("/readyz").json()["status"] == "degraded"


def test_redis_password_is_in_no_answer_and_no_log(
    redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when Redis refuses it."""
    url = redis_server.url.replace("redis://", "redis://somebody:hunter2@")
    with running(make_settings(tiny_bundle, tmp_path / "state", redis_url=SecretStr(url))) as client:
        answers = client.get("/info").text + client.get("/readyz").text

    assert "degraded" in answers
    assert "hunter2" not in answers + caplog.text
