"""The gateway's metrics, as a real HAProxy with our configuration names them; skipped without HAProxy."""

import re
from pathlib import Path

from tests.observe.gateway import Gateway
from tests.observe.test_names import OF_HAPROXY
from tests.observe.watched import queries, rules
from tests.support.ports import free_port


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
