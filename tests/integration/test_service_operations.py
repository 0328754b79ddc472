"""What operators see: alive, ready, metrics, and the parts that fail."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient

from llmemb.errors import BundleCorruptError, ConfigError
from llmemb_service.app import create_app
from llmemb_service.encoding.encoder_process import EncoderProcess
from tests.support.service import HEAT, make_settings, running, wait_until

PARTS = ("recommender", "catalogue", "encoder", "cache", "item_log", "sessions")


@pytest.fixture
def client(tiny_bundle: Path, tmp_path: Path) -> Iterator[TestClient]:
    with running(make_settings(tiny_bundle, tmp_path / "state", readiness_cache_seconds=0)) as client:
        yield client


def test_service_is_alive_and_ready(client: TestClient) -> None:
    """Every part answered a real request."""
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = client.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["checks"] == dict.fromkeys(PARTS, "ok")
    assert checks(client) == dict.fromkeys(PARTS, 1)


def test_metrics_tell_what_was_done(client: TestClient) -> None:
    """Requests by route, status and bundle, items, cache, batches, catalogue, fallbacks."""
    bundle_id = client.get("/info").json()["bundle_id"]
    before = samples(client)
    for _ in range(2):
        client.post("/embed_items", json={"items": [{"id": "x", "attributes": HEAT}], "index": True})
    client.post("/recommend", json={"history": []})
    client.post("/recommend", json={"history": ["nowhere"]})
    text = client.get("/metrics").text
    after = samples(client)

    assert {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0) and not any(word in name for word in ("seconds", "tokens"))
    } == {
        'llmemb_problems_total{code="unknown_item"}': 1,
        f'llmemb_bundle_requests_total{{bundle="{bundle_id}"}}': 4,
        "llmemb_embedded_items_total": 2,
        "llmemb_batch_items_count": 1,
        "llmemb_batch_items_sum": 1,
        'llmemb_cache_lookups_total{result="hit"}': 1,
        'llmemb_cache_lookups_total{result="miss"}': 1,
        f'llmemb_catalogue_items{{bundle="{bundle_id}",source="added"}}': 1,
        f'llmemb_fresh_rows{{bundle="{bundle_id}"}}': 1,
        "llmemb_rank_batch_size_count": 1,
        "llmemb_rank_batch_size_sum": 1,
        "llmemb_fallbacks_total": 1,
        f'llmemb_recommended_items_total{{bundle="{bundle_id}",kind="fallback"}}': 10,
        f'llmemb_coverage{{bundle="{bundle_id}"}}': pytest.approx(10 / 41, rel=0.01),
    }
    assert after[answered("/embed_items", 200)] == 2
    assert after[answered("/recommend", 200)] == 1
    assert after[answered("/recommend", 422)] == 1
    assert after[f'llmemb_catalogue_items{{bundle="{bundle_id}",source="bundle"}}'] == 40
    assert "Heat" not in text


def answered(route: str, status: int) -> str:
    """The sample that counts the POST requests of a route with a status."""
    labels = f'http_request_method="POST",http_response_status_code="{status}",http_route="{route}"'
    return f"http_server_request_duration_seconds_count{{{labels}}}"


def checks(client: TestClient) -> dict[str, float]:
    """What the metrics say of each part."""
    named = {part: f'llmemb_check_ok{{check="{part}"}}' for part in PARTS}
    found = samples(client)
    return {part: found[name] for part, name in named.items()}


def samples(client: TestClient) -> dict[str, float]:
    """Every sample of the metrics, but for the time at which it was first counted."""
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    return {name: value for name, value in values.items() if "_created" not in name and "_bucket" not in name}


def test_dead_encoder_leaves_the_rest_and_comes_back(tiny_bundle: Path, tmp_path: Path) -> None:
    """Readiness says so and stays 200; recommendations by ids go on, embedding answers 503 until there is another."""
    app = create_app(make_settings(tiny_bundle, tmp_path / "state", readiness_cache_seconds=0, encoder_url=None))
    item = {"items": [{"id": "x", "attributes": HEAT}]}
    with TestClient(app) as client:
        encoder = app.state.runtime.versions.current.encoder
        assert isinstance(encoder, EncoderProcess)
        wait_until(lambda: client.get("/readyz").status_code == 200, "the encoder has started")
        with _no_new_encoder(encoder):
            os.kill(_pid(encoder), signal.SIGKILL)
            wait_until(lambda: encoder.pid is None, "the service notices")
            ready = client.get("/readyz")
            embedded = client.post("/embed_items", json=item)

            assert ready.status_code == 200
            assert ready.json()["status"] == "degraded"
            assert ready.json()["checks"] == dict.fromkeys(PARTS, "ok") | {"encoder": "restarting"}
            assert checks(client) == dict.fromkeys(PARTS, 1) | {"encoder": 0}
            assert client.get("/healthz").status_code == 200
            assert client.post("/recommend", json={"history": ["1"]}).status_code == 200
            assert (embedded.status_code, embedded.json()["code"]) == (503, "encoder_unavailable")
            assert int(embedded.headers["Retry-After"]) >= 1
        wait_until(lambda: encoder.pid is not None, "there is another encoder")

        assert client.post("/embed_items", json=item).status_code == 200
        assert client.get("/readyz").json()["status"] == "ready"
        assert "llmemb_encoder_restarts_total 1.0" in client.get("/metrics").text


def test_recommendations_do_not_wait_for_the_encoder_to_start(tiny_bundle: Path, tmp_path: Path) -> None:
    """Requests by id are answered immediately; those that need embedding wait; it is ready when embedding works."""
    app = create_app(make_settings(tiny_bundle, tmp_path / "state", encoder_url=None))
    with TestClient(app) as client, ThreadPoolExecutor() as threads:
        host = next(each for each in psutil.Process().children() if "llmemb_service.encoding.worker" in each.cmdline())
        host.suspend()
        try:
            waiting = threads.submit(client.post, "/embed_items", json={"items": [{"id": "x", "attributes": HEAT}]})
            recommended = client.post("/recommend", json={"history": ["1"]})
            ready = client.get("/readyz")

            assert recommended.status_code == 200
            assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
            assert ready.json()["checks"] == dict.fromkeys(PARTS, "ok") | {"encoder": "starting"}
            assert not waiting.done()
        finally:
            host.resume()

        assert waiting.result().status_code == 200
        wait_until(lambda: client.get("/readyz").status_code == 200, "the service is ready")
        assert client.get("/readyz").json()["status"] == "ready"


@contextmanager
def _no_new_encoder(encoder: EncoderProcess) -> Iterator[None]:
    """Hold the process that starts encoders."""
    assert encoder._host._host is not None
    host = encoder._host._host.pid
    assert host is not None
    os.kill(host, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(host, signal.SIGCONT)


def _pid(encoder: EncoderProcess) -> int:
    assert encoder.pid is not None
    return encoder.pid


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
