"""The gateway before three replicas: what it lets through, and to whom."""

import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.docker.compose import REPOSITORY, Compose
from tests.support.load import Load
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.docker
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(("page", "number"), [("README.md", 3), ("docs/tutorial.md", 8)])
def test_calls_of_the_documentation_are_answered(page: str, number: int, compose: Compose) -> None:
    """Each `curl` command works through the gateway as the page has it, but for its port."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    calls = re.findall(r"^```sh\n(curl -s .*?)^```", text, re.M | re.S)

    assert len(calls) == number
    for call in calls:
        local = call.replace("curl -s", "curl -sS --fail-with-body").replace("http://127.0.0.1:8000", compose.url)
        compose.call("bash", "-euo", "pipefail", "-c", local)  # curl fails on a status of 400 or more


def test_only_the_gateway_has_ports(compose: Compose) -> None:
    """Two, both on this machine's own address."""
    published = set()
    for name in ("gateway", "service", "redis"):
        for container in compose.containers(name):
            ports = compose.call("docker", "port", container)
            published |= {(name, line.split(" -> ")[1].rpartition(":")[0]) for line in ports.splitlines()}

    assert published == {("gateway", "127.0.0.1")}


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics/", "/admin/bundles", "/%61dmin/rollback"])
def test_path_of_operators_is_hidden_from_the_public(path: str, compose: Compose) -> None:
    """However it is written; at the operators' port it is there."""
    hidden = httpx2.get(f"{compose.url}{path}")

    assert hidden.status_code == 404
    assert hidden.headers["content-type"] == PROBLEM
    assert hidden.json()["code"] == "not_found"
    if path == "/metrics":
        assert "http_server_request_duration_seconds_count" in httpx2.get(f"{compose.operators_url}{path}").text


def test_body_that_is_too_large_is_refused_before_it_is_sent(compose: Compose) -> None:
    """By its length in the head."""
    host, port = compose.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(b"POST /embed_items HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        answer = connection.recv(65536).decode()

    assert answer.startswith("HTTP/1.1 413")
    assert '"code": "body_too_large"' in answer


def test_head_that_never_ends_is_answered_and_the_others_go_on(compose: Compose) -> None:
    """Clients that send a byte now and then get 408, and take no replica's time."""
    host, port = compose.url.removeprefix("http://").split(":")

    def dawdle(number: int) -> str:
        with socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(b"POST /recommend HTTP/1.1\r\n")
            return connection.recv(65536).decode()

    with ThreadPoolExecutor(200) as clients:
        dawdling = [clients.submit(dawdle, number) for number in range(200)]
        while not all(each.done() for each in dawdling):
            assert httpx2.get(f"{compose.url}/items/50", timeout=DEADLINE_SECONDS).status_code == 200
        assert all(each.result().startswith("HTTP/1.1 408") for each in dawdling)


def test_request_keeps_its_id(compose: Compose) -> None:
    """The client's where it is a UUID, else the gateway's; so both logs have the same."""
    own = str(uuid.uuid4())

    assert httpx2.get(f"{compose.url}/items/50", headers={"X-Request-Id": own}).headers["x-request-id"] == own
    refused = httpx2.get(f"{compose.url}/metrics", headers={"X-Request-Id": "mine"})
    assert refused.json()["instance"] == f"urn:uuid:{refused.headers['x-request-id']}"


def test_changed_limits_are_taken_without_a_break(compose: Compose) -> None:
    """A reload under load fails no request. Another gateway with a small limit answers 429, and says when to come."""
    container = compose.containers("gateway")[0]
    with Load(compose.url, {"recommend": lambda client, number: client.recommend(history=["50"], k=3)}) as load:
        load.wait_for("recommend", good=True, since=0, number=20)
        compose.run("exec", "--no-TTY", "gateway", "/etc/haproxy/reload.sh")
        load.wait_for("recommend", good=True, since=time.monotonic() + 1, number=50)
    assert load.failed("recommend") == []
    assert compose.is_healthy(container)


STRICT = (
    "sed 's/:8080/:9080/; s/:8081/:9081/; s/:8405/:9405/; s#/tmp/haproxy#/tmp/strict#' "
    "/etc/haproxy/haproxy.cfg >/tmp/strict.cfg && "
    'GATEWAY_REQUESTS_PER_CLIENT=5 GATEWAY_TRUSTED_PROXIES="$1" exec haproxy -db -f /tmp/strict.cfg'
)
"""Starts a second gateway beside the first, with a small limit."""
END = 'for each in /proc/[0-9]*; do ! grep -q "/tmp/[s]trict.cfg" "$each/cmdline" || kill "${each#/proc/}"; done'


@pytest.mark.parametrize(("trusted", "other"), [("", "429"), ("127.0.0.0/8 192.168.0.0/16", "404")])
def test_client_that_asks_too_often_is_told_when_to_come(trusted: str, other: str, compose: Compose) -> None:
    """429 past the limit, by the client's address, which only a trusted proxy may set."""
    container = compose.containers("gateway")[0]

    def ask(address: str) -> str:
        # A hidden path, which the gateway answers by itself.
        head = rf"GET /metrics HTTP/1.0\r\nX-Forwarded-For: {address}\r\n\r\n"
        call = f"exec 3<>/dev/tcp/127.0.0.1/9080 && printf '{head}' >&3 && cat <&3"
        return compose.call("docker", "exec", container, "bash", "-c", call, check=False)

    compose.call("docker", "exec", "--detach", container, "bash", "-c", STRICT, "strict", trusted)
    try:
        wait_until(lambda: "HTTP/1.1 404" in ask("192.0.2.9"), "the strict gateway answers")
        refused = [answer for answer in (ask("192.0.2.1") for _ in range(20)) if "HTTP/1.1 429" in answer]
        assert refused
        assert all("retry-after: 2" in answer.lower() and '"rate_limited"' in answer for answer in refused)
        assert f"HTTP/1.1 {other}" in ask("192.0.2.2")
    finally:
        compose.call("docker", "exec", container, "bash", "-c", END)
