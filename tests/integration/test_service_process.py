"""`llmemb serve` as users run it: a process that is stopped, killed, and told wrong things."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.support.encoder import encoder_family
from tests.support.packages import SOURCES
from tests.support.service import HEAT, ServeProcess, shared_encoder_url
from tests.support.tiny import write_tiny_bundle, write_tiny_llm
from tests.support.waiting import wait_until


def test_sigterm_ends_the_process_after_its_requests(tiny_bundle: Path, tmp_path: Path) -> None:
    """A request that runs when the signal comes is answered, and the encoder's process ends too."""
    with ServeProcess(tiny_bundle, tmp_path / "state", LLMEMB_MAX_BATCH_TOKENS="1") as service:
        items = [{"id": str(i), "attributes": {"title": f"{i}"}} for i in range(300)]
        answers: list[httpx2.Response] = []
        sender = threading.Thread(target=lambda: answers.append(service.post("/embed_items", {"items": items})))
        sender.start()
        encoder = children_of(service.process.pid)
        while "llmemb_queued_items 0.0" in httpx2.get(f"{service.url}/metrics").text:
            assert sender.is_alive(), "the request was over before it was seen to run"
        assert service.end(signal.SIGTERM) == 0
        sender.join()

    assert answers[0].status_code == 200
    assert len(answers[0].json()["embeddings"]) == 300
    assert encoder
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in encoder), "the encoder's processes end too")
    assert "Traceback" not in service.output


def test_clients_of_a_proxy_have_a_limit_each(tiny_bundle: Path, tmp_path: Path) -> None:
    """A real service behind a proxy on this machine counts by what that says; a client cannot forge another address."""

    def status(forwarded_for: str) -> int:
        return httpx2.get(f"{service.url}/info", headers={"X-Forwarded-For": forwarded_for}).status_code

    variables = {"LLMEMB_RATE_LIMIT_PER_MINUTE": "1", "LLMEMB_ENCODER_URL": shared_encoder_url()}
    with ServeProcess(tiny_bundle, tmp_path / "state", **variables) as service:
        assert [status("203.0.113.1"), status("203.0.113.2"), status("[2001:db8::1]:80")] == [200, 200, 200]
        assert [status("203.0.113.3, 203.0.113.1"), status("2001:db8::2")] == [429, 429]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    children = [int(child) for child in text.split()]
    return children + [each for child in children for each in children_of(child)]


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--bundle", "nowhere"], {}, "nowhere is no bundle: it has no manifest.json"),
        (["--bundle", "x"], {"LLMEMB_MAX_KK": "1"}, "did you mean LLMEMB_MAX_K?"),
        ([], {}, "LLMEMB_BUNDLE is not set, nor --bundle given"),
        (
            ["--bundle", "x", "--host", "192.0.2.1"],
            {"LLMEMB_API_KEYS_FILE": "keys"},  # without them a warning comes first
            "cannot listen on 192.0.2.1 port 8000",
        ),
    ],
)
def test_start_that_fails_says_why_in_a_sentence(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    """Exit code 3, one line, no traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "llmemb", "serve", *arguments],
        env={"PATH": "", "PYTHONPATH": SOURCES, "LLMEMB_STATE_DIR": str(tmp_path)} | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 3
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_encoder_that_cannot_start_ends_the_service(tiny_bundle: Path, tmp_path: Path) -> None:
    """Also when it serves already: exit code 3, and a sentence with the setting that is at fault."""
    ended = subprocess.run(
        [sys.executable, "-m", "llmemb", "serve", "--bundle", str(tiny_bundle), "--port", "0"],
        env=os.environ | {"LLMEMB_STATE_DIR": str(tmp_path), "LLMEMB_DEVICE": "cuda:7"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 3
    assert "LLMEMB_DEVICE: the encoder cannot run on cuda:7" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_openapi_is_printed_without_a_bundle(tmp_path: Path) -> None:
    """JSON on the output, and nothing else."""
    printed = subprocess.run(
        [sys.executable, "-m", "llmemb", "openapi"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert "/recommend" in json.loads(printed)["paths"]


def test_encoder_restarted_on_a_replaced_bundle_embeds_nothing(tiny_llm: Path, tmp_path: Path) -> None:
    """An item must not be stored with a vector of other weights; readiness names the file and says what to do."""
    bundle = write_tiny_bundle(tmp_path / "bundle", tiny_llm)
    with ServeProcess(bundle, tmp_path / "state", LLMEMB_READINESS_CACHE_SECONDS="0") as service:
        write_tiny_bundle(bundle, write_tiny_llm(tmp_path / "other", seed=1))
        encoder_family(lambda: psutil.Process(service.process.pid).children()).worker.kill()
        wait_until(lambda: "restarts_total 0.0" not in httpx2.get(f"{service.url}/metrics").text, "a restart")
        wait_until(lambda: encoder_check(service) != "restarting", "the restarted encoder is checked")

        put = httpx2.put(f"{service.url}/items/new", json={"attributes": HEAT}, timeout=60)
        read = httpx2.get(f"{service.url}/items/new")
        recommended = service.post("/recommend", {"history": ["1"]})

        assert put.status_code == 503
        assert put.json()["detail"] == encoder_check(service)
        assert "encoder/model.safetensors: the file was changed" in put.json()["detail"]
        assert "POST /admin/bundles" in put.json()["detail"]
        assert read.status_code == 404
        assert recommended.status_code == 200


def encoder_check(service: ServeProcess) -> str:
    """What readiness says of the encoder."""
    return str(httpx2.get(f"{service.url}/readyz").json()["checks"]["encoder"])
