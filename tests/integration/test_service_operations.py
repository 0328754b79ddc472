"""What operators see: alive, ready, metrics, and the parts that fail."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from llmemb.errors import BundleCorruptError, ConfigError
from service.app import create_app
from tests.support.service import HEAT, make_settings, running, wait_until


@pytest.fixture
def client(tiny_bundle: Path, tmp_path: Path) -> Iterator[TestClient]:
    with running(make_settings(tiny_bundle, tmp_path / "state", ready_seconds=0)) as client:
        yield client


def test_service_is_alive_and_ready(client: TestClient) -> None:
    """Every part answered a real request."""
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json()["checks"] == {"encoder": "ok", "sequence_model_and_index": "ok", "cache": "ok"}


def test_metrics_tell_what_was_done(client: TestClient) -> None:
    """Requests by route and status, items, cache, batches, catalogue, fallbacks."""
    for _ in range(2):
        client.post("/embed_items", json={"items": [{"id": "x", "attributes": HEAT}], "index": True})
    client.post("/recommend", json={"history": []})
    client.post("/recommend", json={"history": ["nowhere"]})
    text = client.get("/metrics").text

    for line in (
        'llmemb_requests_total{method="POST",route="/embed_items",status="200"} 2.0',
        'llmemb_requests_total{method="POST",route="/recommend",status="422"} 1.0',
        'llmemb_request_seconds_count{route="/recommend"} 2.0',
        "llmemb_embedded_items_total 2.0",
        'llmemb_cache_lookups_total{result="hit"} 1.0',
        'llmemb_cache_lookups_total{result="miss"} 1.0',
        'llmemb_catalogue_items{source="bundle"} 40.0',
        'llmemb_catalogue_items{source="added"} 1.0',
        "llmemb_queue_items 0.0",
        "llmemb_fallbacks_total 1.0",
        "llmemb_redis_errors_total 0.0",
    ):
        assert line in text
    assert "Heat" not in text


def test_dead_encoder_makes_the_service_unready_and_leaves_the_rest(tiny_bundle: Path, tmp_path: Path) -> None:
    """503 says which part; recommendations by ids go on, embedding answers 503."""
    app = create_app(make_settings(tiny_bundle, tmp_path / "state", ready_seconds=0))
    with TestClient(app) as client:
        _kill_encoder(app)
        response = client.get("/readyz")
        problem = response.json()

        assert response.status_code == 503
        assert problem["code"] == "not_ready"
        assert problem["checks"]["encoder"] == "stopped"
        assert problem["checks"]["sequence_model_and_index"] == "ok"
        assert client.get("/healthz").status_code == 200
        assert client.post("/recommend", json={"history": ["1"]}).status_code == 200
        response = client.post("/embed_items", json={"items": [{"id": "x", "attributes": HEAT}]})
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")


def _kill_encoder(app: FastAPI) -> None:
    queue = app.state.engine.embedder._queue
    queue.close()
    wait_until(lambda: not queue.alive, "the encoder's thread ends")


@pytest.mark.parametrize("name", ["items.parquet", "encoder/model.safetensors", "manifest.json"])
def test_service_refuses_a_bundle_with_a_byte_changed(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    """The start fails and names the file."""
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)

    with pytest.raises(BundleCorruptError, match=name), running(make_settings(bundle, tmp_path / "state")):
        pass


def test_service_refuses_a_state_folder_in_use(tiny_bundle: Path, tmp_path: Path) -> None:
    """Two processes would each miss the other's items."""
    settings = make_settings(tiny_bundle, tmp_path / "state")

    with running(settings), pytest.raises(ConfigError, match="another process uses"), running(settings):
        pass


def test_service_refuses_a_device_that_is_not_there(tiny_bundle: Path, tmp_path: Path) -> None:
    """The start fails and names the setting."""
    with (
        pytest.raises(ConfigError, match="LLMEMB_DEVICE"),
        running(make_settings(tiny_bundle, tmp_path / "state", device="cuda:99")),
    ):
        pass
