"""`http.parsing.recommend`: the bodies of `/recommend`, `/recommend/batch` and `/sessions/.../events`."""

from pathlib import Path
from typing import Any

import pytest

from llmemb.api.recommend import EventsRequest, Filters, RecommendBatchRequest, RecommendRequest
from llmemb.encoder.prompt import PromptSpec
from llmemb_service.errors import Fault, InvalidRequestError
from llmemb_service.http.parsing.recommend import (
    check_number_of_requests,
    parse_events,
    parse_queries,
    parse_query,
    places_of,
)
from llmemb_service.ranking.query import Query
from llmemb_service.settings import Settings

PROMPT = PromptSpec("movie", ("title", "genres"))
SETTINGS = Settings(bundle=Path(), max_history_items=5, max_k=50, max_filter_values=3, max_client_batch_size=2)


def faults(**body: Any) -> list[Fault]:
    """The faults of a body of `/recommend`."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_query(RecommendRequest(**body), PROMPT, SETTINGS)
    return list(refused.value.faults)


def test_all_of_a_body_becomes_the_query() -> None:
    """An id twice is fine: people come back to things; ids are not ASCII alone."""
    filters = Filters(categories_any=["a"], available=None)
    body = RecommendRequest(
        history=["1", {"attributes": {"title": "x"}}, "é", "1"],
        k=3,
        filters=filters,
        exclude_history=False,
        explain=True,
    )

    assert parse_query(body, PROMPT, SETTINGS) == Query(
        history=["1", {"title": "x"}, "é", "1"], k=3, filters=filters, exclude_history=False, explain=True
    )


def test_a_session_s_history_is_stored() -> None:
    """It comes from elsewhere."""
    assert parse_query(RecommendRequest(session_id="s"), PROMPT, SETTINGS) == Query(history=[], stored=True)


@pytest.mark.parametrize(("body", "place"), [({}, "history"), ({"history": [], "session_id": "s"}, "session_id")])
def test_either_history_or_session_is_sent(body: dict[str, Any], place: str) -> None:
    """Neither and both are faults."""
    assert [fault.loc for fault in faults(**body)] == [("body", place)]


def test_k_and_entries_are_reported_together() -> None:
    """Both limits are named."""
    found = faults(history=[{"attributes": {"year": 1}}, "", "x" * 257, "é" * 257, "\ud800"], k=51)

    assert [fault.loc for fault in found] == [
        ("body", "k"),
        ("body", "history", 0, "attributes", "year"),
        *[("body", "history", place) for place in (1, 2, 3, 4)],
    ]
    assert "50" in found[0].msg
    assert "title, genres" in found[1].msg


def test_lists_that_are_too_long_are_refused() -> None:
    """The limit is named; the entries are not looked at."""
    found = faults(history=[""] * 6, filters=Filters(allow=["1"] * 4, deny=["1"] * 3, categories_all=["a"] * 4))

    assert [fault.loc for fault in found] == [
        ("body", "filters", "categories_all"),
        ("body", "filters", "allow"),
        ("body", "history"),
    ]
    assert found[-1].msg == "has 6 entries; the maximum is 5"


def test_a_batch_reports_the_faults_of_all_requests() -> None:
    """Each with the place of its request."""
    body = RecommendBatchRequest.model_validate({"requests": [{"history": [""]}, {"history": ["1"]}, {"k": 51}]})
    with pytest.raises(InvalidRequestError) as refused:
        parse_queries(body, [PROMPT] * 3, SETTINGS)

    assert [fault.loc for fault in refused.value.faults] == [
        ("body", "requests", 0, "history", 0),
        ("body", "requests", 2, "history"),
        ("body", "requests", 2, "k"),
    ]
    with pytest.raises(InvalidRequestError) as too_many:
        check_number_of_requests(body, SETTINGS)
    assert [fault.loc for fault in too_many.value.faults] == [("body", "requests")]


def test_a_batch_is_parsed_in_its_order() -> None:
    """Each request as it would be alone."""
    bodies: list[dict[str, Any]] = [{"history": ["1"], "k": 2}, {"session_id": "s"}]
    body = RecommendBatchRequest.model_validate({"requests": bodies})

    check_number_of_requests(body, SETTINGS)
    assert parse_queries(body, [PROMPT] * 2, SETTINGS) == [
        parse_query(RecommendRequest(**each), PROMPT, SETTINGS) for each in bodies
    ]


def test_events_are_item_ids() -> None:
    """Those that cannot be ids are reported, and so are too many."""
    good = EventsRequest.model_validate({"events": [{"item_id": "1"}, {"item_id": "1"}]})
    bad = EventsRequest.model_validate({"events": [{"item_id": "1"}, {"item_id": ""}]})
    many = EventsRequest.model_validate({"events": [{"item_id": "1"}] * 6})

    assert parse_events(good, SETTINGS) == ["1", "1"]
    for body, place in ((bad, ("body", "events", 1, "item_id")), (many, ("body", "events"))):
        with pytest.raises(InvalidRequestError) as refused:
            parse_events(body, SETTINGS)
        assert [fault.loc for fault in refused.value.faults] == [place]


def test_places_are_those_of_the_entries() -> None:
    """Every one of an id that comes several times."""
    body = RecommendRequest(history=["a", "b", {"attributes": {"title": "a"}}, "a"])

    assert places_of(["a", "c"], body, "body") == [("body", "history", 0), ("body", "history", 3)]
    assert places_of(["a"], RecommendRequest(session_id="a"), "body") == []
