"""docs/api.md has every route, and what it sends by curl is answered as it says."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.http.examples import HEAT
from tests.support.service import make_settings, running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that holds the films of MovieLens which the page names."""
    with running(make_settings(tiny_bundle, tmp_path_factory.mktemp("page") / "state")) as client:
        films = [{"id": item_id, "attributes": HEAT} for item_id in ("50", "172")]
        assert client.post("/embed_items", json={"items": films, "index": True}).status_code == 200
        yield client


def test_page_has_every_route_and_no_other() -> None:
    """A heading for each."""
    description = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    routes = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}

    assert set(re.findall(r"^## ([A-Z]+ /\S*)$", PAGE, flags=re.MULTILINE)) == routes


def test_page_says_what_curl_gets(client: TestClient) -> None:
    """Every call, in the order of the page, is fine, but for those of the part on problems."""
    fine, faulty = PAGE.split("\n# Problems\n")
    good = [status_of(client, call) for call in calls_of(fine)]
    bad = [status_of(client, call) for call in calls_of(faulty)]

    assert len(good) >= 10
    assert all(status < 300 for status in good), good
    assert bad == [422]


@dataclass(frozen=True)
class Call:
    """What one curl sends."""

    method: str
    path: str
    body: str | None


def status_of(client: TestClient, call: Call) -> int:
    headers = {} if call.body is None else {"Content-Type": "application/json"}
    return client.request(call.method, call.path, content=call.body, headers=headers).status_code


def calls_of(page: str) -> list[Call]:
    """Every curl of a page, in its order."""
    calls = []
    for block in re.findall(r"```sh\n(curl .*?)```", page, flags=re.DOTALL):
        words = shlex.split(block)
        body = words[words.index("-d") + 1] if "-d" in words else None
        method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
        url = next(word for word in words if word.startswith(ADDRESS))
        calls.append(Call(method, url.removeprefix(ADDRESS), body))
    return calls
