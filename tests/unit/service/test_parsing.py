from pathlib import Path
from typing import Any

import pytest

from llmemb.prompt import PromptSpec
from service.errors import InvalidRequestError
from service.parsing import parse_history, parse_items
from service.schemas import ItemBody, RecommendRequest
from service.settings import Settings

PROMPT = PromptSpec("movie", ("title", "genres"))
SETTINGS = Settings(
    bundle=Path(), max_items_per_request=4, max_value_characters=20, max_history_items=5, max_k=50
)  # fmt: skip


def places(bodies: list[dict[str, Any]]) -> list[tuple[str | int, ...]]:
    """Where the faults of items are."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_items([ItemBody(**body) for body in bodies], PROMPT, SETTINGS)
    return [fault.loc for fault in refused.value.faults]


def test_items_are_brought_to_texts_in_their_order() -> None:
    """Numbers become texts, lists tuples, and what is missing is left out."""
    bodies = [
        ItemBody(id="1", attributes={"title": 7, "genres": ["a", "", 2.5]}),
        ItemBody(id="2", attributes={"title": "b", "genres": None}),
    ]
    items = parse_items(bodies, PROMPT, SETTINGS)

    assert [item.id for item in items] == ["1", "2"]
    assert [dict(item.attributes) for item in items] == [{"title": "7", "genres": ("a", "2.5")}, {"title": "b"}]


def test_items_report_every_fault_with_its_place() -> None:
    """One answer tells all that is to be mended."""
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


def test_history_keeps_ids_and_parses_items() -> None:
    """An id twice is fine: people come back to things."""
    body = RecommendRequest(history=["1", {"attributes": {"title": "x"}}, "1"])

    assert parse_history(body, PROMPT, SETTINGS) == ["1", {"title": "x"}, "1"]


def test_history_reports_k_and_entries_together() -> None:
    """Both limits are named."""
    body = RecommendRequest(history=[{"attributes": {"year": 1}}], k=51)
    with pytest.raises(InvalidRequestError) as refused:
        parse_history(body, PROMPT, SETTINGS)

    assert [fault.loc for fault in refused.value.faults] == [
        ("body", "k"),
        ("body", "history", 0, "attributes", "year"),
    ]
    assert "50" in refused.value.faults[0].msg
    assert "title, genres" in refused.value.faults[1].msg


def test_history_refuses_one_that_is_too_long() -> None:
    """The limit is named."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_history(RecommendRequest(history=["1"] * 6), PROMPT, SETTINGS)

    assert refused.value.faults[0].msg == "has 6 entries, at most 5 are taken"
