"""Who asks too often is told when to come again."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.guard.api_keys import Role
from service.guard.rate_middleware import _network
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
        assert refused.json()["detail"] == "at most 2 requests a minute are answered"
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


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_client_cannot_be_many_by_its_ipv6_addresses(host: str, network: str) -> None:
    """The first 64 bits count."""
    assert _network({"client": (host, 5)}) == network
