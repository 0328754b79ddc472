"""The client has a method for every route of the description; tests/docs/test_pages.py runs its page."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import llmemb.client
from llmemb.api.items import ItemBody
from llmemb.api.recommend import RecommendRequest
from llmemb.client import Client
from llmemb.client.calls import Call
from llmemb.client.methods import Method, Methods
from llmemb_service.http.openapi.examples import HEAT

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "client.md"
DESCRIPTION: dict[str, Any] = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
CALLS: dict[str, Call[Any]] = {
    "embed_items": Client.embed_items([ItemBody(id="1", attributes=HEAT)], index=True),
    "put_item": Client.put_item("a/b", HEAT, categories=["x"], available=True),
    "patch_item": Client.patch_item("a/b", available=False),
    "get_item": Client.get_item("a/b"),
    "delete_item": Client.delete_item("a/b"),
    "item_page": Client.item_page(query="heat", limit=3, cursor="x"),
    "similar_items": Client.similar_items("a/b", k=3),
    "item_map": Client.item_map(limit=3),
    "recommend": Client.recommend(["1"], k=3, explain=True, strategy="collaborative", bundle_id="x"),
    "recommend_batch": Client.recommend_batch([RecommendRequest(history=["1"])]),
    "add_events": Client.add_events("s", ["1"]),
    "get_session": Client.get_session("s"),
    "delete_session": Client.delete_session("s"),
    "embeddings": Client.embeddings(["heat"], model="llmemb-raw"),
    "models": Client.models(),
    "get_model": Client.get_model("llmemb-raw"),
    "health": Client.health(),
    "ready": Client.ready(),
    "info": Client.info(),
    "metrics": Client.metrics(),
    "load_bundle": Client.load_bundle("next"),
    "bundles": Client.bundles(),
    "rollback": Client.rollback(),
    "set_experiment": Client.set_experiment("next", 0.1),
    "end_experiment": Client.end_experiment(),
}
"""A call by each method, with all of its arguments."""


def route_of(call: Call[Any]) -> tuple[str, str]:
    """The route of the description that a call's path falls under; of several, the one with the fewest variables."""
    fitting = [
        path
        for path, methods in DESCRIPTION["paths"].items()
        if call.method.lower() in methods and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), call.path)
    ]
    return call.method, min(fitting, key=lambda path: path.count("{"))


def test_every_route_has_a_method() -> None:
    """And every method a route; a route that is added is added to the client."""
    routes = {(method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods}

    assert set(CALLS) == {name for name, value in vars(Methods).items() if isinstance(value, Method)}
    assert {route_of(call) for call in CALLS.values()} == routes
    assert len(CALLS) == len(routes)


@pytest.mark.parametrize("name", CALLS)
def test_call_is_as_the_route_takes_it(name: str) -> None:
    """Its parameters are named, its body passes the schema, and it is given where one is needed."""
    call = CALLS[name]
    method, path = route_of(call)
    operation = DESCRIPTION["paths"][path][method.lower()]
    queries = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}

    assert set(call.params) == queries
    assert (call.body is not None) == ("requestBody" in operation)
    if call.body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": DESCRIPTION["components"]}, json.loads(call.body))


@pytest.mark.parametrize("name", CALLS)
def test_docstring_says_what_the_call_does(name: str) -> None:
    """`help(client.recommend)` shows it, with the arguments."""
    with Client("http://llmemb.test") as client:
        assert getattr(client, name).__doc__
        assert getattr(client, name).__name__ == name


def test_page_names_every_method_and_error() -> None:
    """Those of the package, so that nothing is only found by reading code."""
    page = PAGE.read_text(encoding="utf-8")
    errors = [name for name in llmemb.client.__all__ if name.endswith("Error")]

    assert all(f"`{name}`" in page for name in [*CALLS, *errors])
