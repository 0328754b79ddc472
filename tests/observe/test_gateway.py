"""A real HAProxy with our configuration: its metrics' names, and whom it refuses; skipped without HAProxy."""

import re
from pathlib import Path

from llmemb.client import Client
from tests.observe.gateway import Gateway
from tests.observe.test_names import OF_HAPROXY
from tests.observe.watched import queries, rules
from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.service import ServeProcess, shared_encoder_url
from tests.support.waiting import wait_until


def test_haproxy_has_what_is_asked_for(tmp_path: Path) -> None:
    """Each metric, by its labels, and each of our proxies by its name."""
    with Gateway(tmp_path, [f"127.0.0.1:{free_port()}"]) as gateway:
        text = gateway.exposition()
    asked = {
        (name, proxy)
        for asking in [*rules(), *queries()]
        for name, proxy in re.findall(r'(haproxy_\w+)\{proxy="(\w+)"', asking.expr)
    }

    assert {name for name, _ in asked} == set(OF_HAPROXY)
    for name, proxy in asked:
        line = next((line for line in text.splitlines() if line.startswith(f'{name}{{proxy="{proxy}"')), "")
        assert all(f'{label}="' in line for label in OF_HAPROXY[name]), f"{name} of {proxy}"


def test_recommendations_past_the_limit_are_refused_at_the_gateway(tiny_bundle: Path, tmp_path: Path) -> None:
    """As the service itself would refuse them; what else there is goes on."""
    asking = [f"recommend {number}" for number in range(6)]
    works = dict.fromkeys(asking, lambda client, number: client.recommend([str(number % 40 + 1)]))
    works["read"] = lambda client, number: client.get_item(str(number % 40 + 1))
    with (
        ServeProcess(tiny_bundle, tmp_path, LLMEMB_ENCODER_URL=shared_encoder_url()) as service,
        Gateway(
            tmp_path, [service.url.removeprefix("http://")], {"GATEWAY_RECOMMENDATIONS_PER_REPLICA": "1"}
        ) as gateway,
    ):
        with Client(gateway.url) as client:
            wait_until(lambda: bool(client.recommend(["1"]).items), "the gateway has found the replica")
        with Load(gateway.url, works, pause_seconds=0) as load:
            load.wait_for_each(works, good=True, since=0.0, number=20)

    refused = [answer for name in asking for answer in load.failed(name)]
    assert {answer.kind for answer in refused} == {(429, "overloaded", True)}
    assert not load.failed("read")
