"""Requests beyond the rate limit are refused with Retry-After."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from llmemb_service.guard.keys import Role
from tests.support.key_files import add_key
from tests.support.small_app import small_app


def statuses(client: TestClient, number: int, **headers: str) -> list[int]:
    return [client.put("/items/1", headers=headers).status_code for _ in range(number)]


def test_requests_over_the_limit_are_refused() -> None:
    """429 with the time to wait; probes are never refused."""
    app = small_app(rate_limit_per_minute=2)
    with TestClient(app) as client:
        assert statuses(client, 3) == [200, 200, 429]
        refused = client.put("/items/1")

        assert refused.json()["code"] == "rate_limited"
        assert refused.json()["detail"] == "the rate limit of 2 requests per minute is exceeded"
        assert 1 <= int(refused.headers["Retry-After"]) <= 121
        assert client.get("/healthz").status_code == 200
    assert b'llmemb_rate_limited_total{key="none"} 2.0' in app.state.metrics.exposition()


def test_addresses_are_counted_apart() -> None:
    """One client does not use up another's."""
    app = small_app(rate_limit_per_minute=1)

    assert statuses(TestClient(app, client=("192.0.2.1", 1)), 2) == [200, 429]
    assert statuses(TestClient(app, client=("192.0.2.2", 1)), 2) == [200, 429]


def test_keys_are_counted_apart_and_may_have_a_limit_of_their_own(tmp_path: Path) -> None:
    """From whatever address; the two keys of one name share what the name has."""
    path = tmp_path / "keys.jsonl"
    shop, again = add_key(path, "shop", Role.EMBED), add_key(path, "shop", Role.EMBED)
    batch = add_key(path, "batch", Role.EMBED, rate_limit_per_minute=3)
    app = small_app(api_keys_file=path, rate_limit_per_minute=2)
    with TestClient(app) as client:
        assert statuses(client, 1, **{"X-API-Key": again}) == [200]
        assert statuses(client, 2, **{"X-API-Key": shop}) == [200, 429]
        assert statuses(client, 4, **{"X-API-Key": batch}) == [200, 200, 200, 429]
    assert b'llmemb_rate_limited_total{key="batch"} 1.0' in app.state.metrics.exposition()


def forwarded(app: FastAPI, peer: str, header: str) -> int:
    client = TestClient(app, client=(peer, 1))
    return client.put("/items/1", headers={"X-Forwarded-For": header}).status_code


def test_clients_behind_a_trusted_proxy_are_counted_apart() -> None:
    """By default a proxy on this machine is believed; its clients do not share one limit."""
    app = small_app(rate_limit_per_minute=1)

    assert [forwarded(app, "127.0.0.1", f"203.0.113.{i}") for i in (1, 2, 1)] == [200, 200, 429]
    assert [forwarded(app, "::1", f"203.0.113.{i}") for i in (3, 4, 3)] == [200, 200, 429]


def test_forged_address_gives_no_second_limit() -> None:
    """Only a trusted proxy's header counts, and not what a client wrote before the proxy's entry."""
    app = small_app(rate_limit_per_minute=1, forwarded_allow_ips="192.0.2.0/24")

    assert [forwarded(app, "127.0.0.1", f"203.0.113.{i}") for i in range(2)] == [200, 429]
    assert [forwarded(app, "192.0.2.1", f"203.0.113.{i}, 198.51.100.1") for i in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("host", "same", "other"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::1", "2001:db8:1:3:3:4:5:6"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1"),
    ],
)
def test_one_client_cannot_be_many_by_its_ipv6_addresses(host: str, same: str, other: str) -> None:
    """The first 64 bits count."""
    app = small_app(rate_limit_per_minute=1)

    assert [statuses(TestClient(app, client=(each, 5)), 1) for each in (host, same, other)] == [[200], [429], [200]]


def quota(response: Response) -> list[str | None]:
    return [response.headers.get(f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")]


def test_answers_say_what_is_left_of_the_limit() -> None:
    """Every answer that was counted, of whatever status, and the refusal, whose reset is its Retry-After."""
    with TestClient(small_app(rate_limit_per_minute=3), raise_server_exceptions=False) as client:
        answers = [client.put("/items/1"), client.get("/nothing"), client.get("/admin/broken"), client.put("/items/1")]

    assert [answer.status_code for answer in answers] == [200, 404, 500, 429]
    assert [quota(answer)[:2] for answer in answers] == [["3", "2"], ["3", "1"], ["3", "0"], ["3", "0"]]
    assert all(1 <= int(quota(answer)[2] or 0) <= 121 for answer in answers)
    assert quota(answers[3])[2] == answers[3].headers["Retry-After"]


def test_answers_that_are_not_counted_say_nothing_of_a_limit(tmp_path: Path) -> None:
    """Probes, callers without a limit, and services without one."""
    path = tmp_path / "keys.jsonl"
    key = add_key(path, "shop", Role.EMBED)

    assert quota(TestClient(small_app(rate_limit_per_minute=2)).get("/healthz")) == [None, None, None]
    assert quota(TestClient(small_app()).put("/items/1")) == [None, None, None]
    keyed = TestClient(small_app(api_keys_file=path))
    assert quota(keyed.put("/items/1", headers={"X-API-Key": key})) == [None, None, None]


def test_pages_of_other_origins_may_read_what_is_left() -> None:
    """CORS exposes the three."""
    app = small_app(rate_limit_per_minute=2, cors_origins=("https://shop.example",))
    answer = TestClient(app).put("/items/1", headers={"Origin": "https://shop.example"})

    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} <= set(exposed)
