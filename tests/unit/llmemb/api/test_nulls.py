"""A member of a request that is null counts as left out: generated clients send every optional member so."""

import json
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.json_schema import model_json_schema

from llmemb.api import admin, embeddings, items, recommend
from llmemb.api.base import RequestBody
from llmemb.api.recommend import Filters, RecommendRequest

ATTRIBUTES = {"title": "Heat"}
REQUIRED: dict[str, dict[str, Any]] = {
    "LoadBundleRequest": {"bundle": "a"},
    "ExperimentRequest": {"bundle": "a", "share": 0.1},
    "EmbeddingsRequest": {"input": "tea", "model": "llmemb-raw"},
    "ItemBody": {"id": "1", "attributes": ATTRIBUTES},
    "EmbedItemsRequest": {"items": [{"id": "1", "attributes": ATTRIBUTES}]},
    "PutItemRequest": {"attributes": ATTRIBUTES},
    "PatchItemRequest": {},
    "HistoryItem": {"attributes": ATTRIBUTES},
    "Filters": {},
    "RecommendRequest": {},
    "RecommendBatchRequest": {"requests": [{}]},
    "Event": {"item_id": "1"},
    "EventsRequest": {"events": [{"item_id": "1"}]},
}
"""The required members of every body."""
BODIES = {
    each.__name__: each
    for module in (admin, embeddings, items, recommend)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, RequestBody) and each is not RequestBody
}
MEMBERS = [
    (body, name)
    for body, model in BODIES.items()
    for name, field in model.model_fields.items()
    if not field.is_required() and (body, name) != ("Filters", "available")
]


def read(model: type[BaseModel], content: dict[str, Any]) -> BaseModel:
    return model.model_validate_json(json.dumps(content))


def test_every_body_is_checked_here() -> None:
    """A new body needs an entry."""
    assert BODIES.keys() == REQUIRED.keys()


@pytest.mark.parametrize(("body", "name"), MEMBERS)
def test_null_is_left_out(body: str, name: str) -> None:
    """In JSON, as the lean route reads it, and in Python, as FastAPI does."""
    left_out = read(BODIES[body], REQUIRED[body])
    content = REQUIRED[body] | {name: None}

    assert read(BODIES[body], content) == left_out
    assert BODIES[body].model_validate(content) == left_out


@pytest.mark.parametrize(("body", "name"), MEMBERS)
def test_description_allows_null(body: str, name: str) -> None:
    """Otherwise a generated client refuses to send it."""
    member = model_json_schema(BODIES[body])["properties"][name]

    assert {"type": "null"} in member["anyOf"]


def test_null_of_the_filter_available_means_both() -> None:
    """The one exception: it is a value of its own."""
    body = read(RecommendRequest, {"history": [], "filters": {"available": None}})

    assert isinstance(body, RecommendRequest)
    assert body.filters == Filters(available=None)
    assert Filters().available is True


@pytest.mark.parametrize("body", BODIES)
def test_required_member_cannot_be_null(body: str) -> None:
    """A required member cannot be left out, so neither can it be null."""
    for name in REQUIRED[body].keys() & {
        name for name, field in BODIES[body].model_fields.items() if field.is_required()
    }:
        with pytest.raises(ValueError, match=name):
            read(BODIES[body], REQUIRED[body] | {name: None})
