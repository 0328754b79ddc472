from pathlib import Path
from typing import Any

import pytest

from llmemb.api.items import ItemBody, PatchItemRequest, PutItemRequest
from llmemb.encoder.prompt import PromptSpec
from llmemb_service.catalogue.pending import NewItem
from llmemb_service.errors import InvalidRequestError
from llmemb_service.http.parsing.items import check_limit, parse_items, parse_patch, parse_put
from llmemb_service.settings import Settings

PROMPT = PromptSpec("movie", ("title", "genres"))
SETTINGS = Settings(bundle=Path(), max_client_batch_size=4, max_value_characters=20)


def places(bodies: list[dict[str, Any]]) -> list[tuple[str | int, ...]]:
    """Where the faults of items are."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_items([ItemBody(**body) for body in bodies], PROMPT, SETTINGS)
    return [fault.loc for fault in refused.value.faults]


def test_items_are_brought_to_texts_in_their_order() -> None:
    """Numbers become text, lists become tuples, and missing fields are left out."""
    bodies = [
        ItemBody(id="1", attributes={"title": 7, "genres": ["a", "", 2.5]}),
        ItemBody(id="2", attributes={"title": "b", "genres": None}),
    ]
    items = parse_items(bodies, PROMPT, SETTINGS)

    assert [item.id for item in items] == ["1", "2"]
    assert [dict(item.attributes) for item in items] == [{"title": "7", "genres": ("a", "2.5")}, {"title": "b"}]


def test_items_report_every_fault_with_its_place() -> None:
    """One answer lists every error."""
    bodies = [
        {"id": "", "attributes": {"title": "x"}},
        {"id": "1", "attributes": {}},
        {"id": "2", "attributes": {"title": float("nan")}},
        {"id": "3", "attributes": {"director": "x"}},
    ]

    assert places(bodies) == [
        ("body", "items", 0, "id"),
        ("body", "items", 1, "attributes"),
        ("body", "items", 2, "attributes", "title"),
        ("body", "items", 3, "attributes", "director"),
    ]


@pytest.mark.parametrize(
    "value", [True, {"a": 1}, [["x"]], [None, True], float("inf"), "\ud800", "x" * 21, ["x" * 11] * 2]
)
def test_items_refuse_a_value_of_no_use(value: Any) -> None:
    """Neither other types, nor infinities, nor half a character, nor more text than is taken."""
    loc = places([{"id": "1", "attributes": {"title": "x", "genres": value}}])[0]

    assert loc[:4] == ("body", "items", 0, "attributes")


def test_items_refuse_an_id_that_comes_twice() -> None:
    """The second is at fault."""
    item = {"id": "1", "attributes": {"title": "x"}}

    assert places([item, item]) == [("body", "items", 1, "id")]


def test_items_refuse_too_many_at_once() -> None:
    """They are not looked at one by one."""
    assert places([{"id": "", "attributes": {}}] * 5) == [("body", "items")]


def test_items_keep_their_categories_and_availability() -> None:
    """Each category once; an absent field stays absent, and an empty list is kept."""
    bodies = [
        ItemBody(id="1", attributes={"title": "a"}, categories=["x", "y", "x"], available=False),
        ItemBody(id="2", attributes={"title": "b"}, categories=[]),
        ItemBody(id="3", attributes={"title": "c"}),
    ]
    items = parse_items(bodies, PROMPT, SETTINGS)

    assert [(item.categories, item.available) for item in items] == [(("x", "y"), False), ((), None), (None, None)]


@pytest.mark.parametrize("item_id", ["", "x" * 257, "\ud800"])
def test_put_reports_its_path_and_its_body_together(item_id: str) -> None:
    """The id stands in the path."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_put(item_id, PutItemRequest(attributes={"title": True}), PROMPT, SETTINGS)

    assert [fault.loc for fault in refused.value.faults] == [("path", "item_id"), ("body", "attributes", "title")]


def test_put_brings_attributes_to_texts() -> None:
    """As `/embed_items` does."""
    item = parse_put("a/b", PutItemRequest(attributes={"title": 7}, available=True), PROMPT, SETTINGS)

    assert item == NewItem("a/b", {"title": "7"}, None, True)


def test_patch_must_change_something() -> None:
    """An empty list of categories does."""
    assert parse_patch(PatchItemRequest(categories=[])) == ()
    assert parse_patch(PatchItemRequest(available=True)) is None
    with pytest.raises(InvalidRequestError) as refused:
        parse_patch(PatchItemRequest())

    assert "`categories`, `available`" in refused.value.faults[0].msg


def test_limit_of_a_list_is_checked() -> None:
    """The parameter is named."""
    check_limit("k", SETTINGS.max_k, SETTINGS)
    with pytest.raises(InvalidRequestError) as refused:
        check_limit("k", SETTINGS.max_k + 1, SETTINGS)

    assert refused.value.faults[0].loc == ("query", "k")
