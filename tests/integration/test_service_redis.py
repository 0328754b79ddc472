"""Catalogue, sessions and cache in a real Redis: shared by replicas, kept, and said to be away when it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from llmemb_service.settings import Settings
from tests.support.redis_server import RedisServer
from tests.support.service import HEAT, make_settings, running, wait_until

BODY = {"items": [{"id": "x", "attributes": HEAT}]}
AWAY = "Redis does not answer"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def settings_with(server: RedisServer, bundle: Path, state_dir: Path, **overrides: Any) -> Settings:
    """Make settings of a replica; Redis may be slow on a busy machine, and is soon tried again when it failed."""
    quick = {"redis_timeout_seconds": 5.0, "redis_retry_seconds": 0.05, "readiness_cache_seconds": 0.0}
    return make_settings(bundle, state_dir, redis_url=SecretStr(server.url), **(quick | overrides))


def cached(client: TestClient) -> bool:
    response = client.post("/embed_items", json=BODY)
    assert response.status_code == 200, response.text
    return bool(response.json()["embeddings"][0]["cached"])


def ids(client: TestClient, **body: Any) -> list[str]:
    response = client.post("/recommend", json={"k": 100} | body)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def is_ready(client: TestClient) -> bool:
    return client.get("/readyz").status_code == 200


def test_redis_cache_is_shared_and_expires(redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path) -> None:
    """A second service finds what the first embedded; keys name the bundle and live for a while."""
    one, two = (
        settings_with(redis_server, tiny_bundle, tmp_path / name, redis_prefix="cache") for name in ("one", "two")
    )
    with running(one) as client:
        first = client.post("/embed_items", json=BODY).json()
    with running(two) as client:
        second = client.post("/embed_items", json=BODY).json()
    with redis_server.client() as redis:
        keys = redis.keys("cache:embedding:*")
        ttls = [redis.ttl(key) for key in keys]

    assert [first["embeddings"][0]["cached"], second["embeddings"][0]["cached"]] == [False, True]
    assert second["embeddings"][0]["embedding"] == first["embeddings"][0]["embedding"]
    assert {key.decode().rpartition(":")[0] for key in keys} == {f"cache:embedding:{first['bundle_id']}"}
    assert all(0 < ttl <= 7 * 24 * 3600 for ttl in ttls)


def test_redis_value_that_is_no_vector_is_a_miss(redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path) -> None:
    """It is embedded again and replaced."""
    with running(settings_with(redis_server, tiny_bundle, tmp_path / "state", redis_prefix="half")) as client:
        cached(client)
        with redis_server.client() as redis:
            for key in redis.keys("half:embedding:*"):
                redis.set(key, b"half")

        assert not cached(client)
        assert cached(client)


def test_replicas_share_catalogue_and_sessions(redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path) -> None:
    """What one acknowledged the other answers with, and both have it after a restart without a folder of their own."""
    one, two = (
        settings_with(redis_server, tiny_bundle, tmp_path / name, redis_prefix="shared") for name in ("one", "two")
    )
    with running(one) as first, running(two) as second:
        assert first.put("/items/heat", json={"attributes": HEAT}).status_code == 201
        assert first.post("/sessions/s/events", json={"events": [{"item_id": "heat"}]}).status_code == 200
        wait_until(lambda: second.get("/items/heat").status_code == 200, "the other replica has the item")
        assert "heat" in ids(second, history=["1"])
        assert second.get("/sessions/s").json()["history"] == ["heat"]
        assert ids(second, session_id="s") == ids(first, session_id="s")

        assert second.delete("/items/heat").status_code == 204
        wait_until(lambda: first.get("/items/heat").status_code == 404, "the first replica has it no more")
        assert second.put("/items/kept", json={"attributes": HEAT}).status_code == 201
    with running(settings_with(redis_server, tiny_bundle, tmp_path / "three", redis_prefix="shared")) as third:
        assert is_ready(third)
        assert "kept" in ids(third, history=["1"])
        assert third.get("/sessions/s").json()["history"] == ["heat"]
        assert third.get("/info").json()["catalogue"]["added"] == 1


def test_redis_stopped_and_started_loses_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    """Without Redis, requests that need none are answered and the rest refused immediately; it reconnects by itself."""
    (tmp_path / "redis").mkdir()
    with (
        RedisServer(tmp_path / "redis") as server,
        running(settings_with(server, tiny_bundle, tmp_path / "state")) as client,
    ):
        assert client.put("/items/heat", json={"attributes": HEAT}).status_code == 201
        cached(client)
        assert cached(client)
        server.stop()

        assert not cached(client)
        assert "heat" in ids(client, history=["1", {"attributes": HEAT}])
        for refused in (
            client.put("/items/other", json={"attributes": HEAT}),
            client.post("/sessions/s/events", json={"events": [{"item_id": "1"}]}),
            client.post("/recommend", json={"session_id": "s"}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (503, "storage")
            assert int(refused.headers["Retry-After"]) >= 1
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert {part: said for part, said in ready.json()["checks"].items() if AWAY not in said} == dict.fromkeys(
            ("recommender", "catalogue", "encoder"), "ok"
        )
        assert "llmemb_redis_errors_total 0.0" not in client.get("/metrics").text

        server.start()
        wait_until(lambda: client.get("/readyz").json().get("status") == "ready", "Redis is used again")
        cached(client)
        assert cached(client)
        assert client.get("/items/other").status_code == 404
        assert "heat" in ids(client, history=["1"])
        assert client.put("/items/other", json={"attributes": HEAT}).status_code == 201


def test_service_starts_without_its_redis(tiny_bundle: Path, tmp_path: Path) -> None:
    """It recommends from the bundle, takes no traffic until it knows what was added, and then is ready by itself."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    with server, running(settings_with(server, tiny_bundle, tmp_path / "one")) as client:
        assert client.put("/items/heat", json={"attributes": HEAT}).status_code == 201
    with running(settings_with(server, tiny_bundle, tmp_path / "two")) as client:
        assert not cached(client)
        assert len(ids(client, history=["1"])) == 39
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
        assert ready.json()["checks"]["catalogue"] == "the added items cannot be read yet"
        assert ready.json()["checks"]["recommender"] == "ok"
        assert client.get("/healthz").status_code == 200

        with server:
            wait_until(lambda: is_ready(client), "the service is ready")
            assert "heat" in ids(client, history=["1"])


def test_redis_password_is_in_no_answer_and_no_log(
    redis_server: RedisServer, tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even when Redis refuses it."""
    url = redis_server.url.replace("redis://", "redis://somebody:hunter2@")
    with running(make_settings(tiny_bundle, tmp_path / "state", redis_url=SecretStr(url))) as client:
        ready = client.get("/readyz")
        put = client.put("/items/heat", json={"attributes": HEAT})
        answers = client.get("/info").text + ready.text + put.text

    assert ready.status_code == 503
    assert put.status_code == 503
    assert "hunter2" not in answers + caplog.text
