"""Paths and bodies of calls."""

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.api.items import PutItemRequest
from llmemb.client.calls import json_of, path_of


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("items", "50"), "/items/50"),
        (("items", "a/b", "similar"), "/items/a%2Fb/similar"),
        (("items", "a b?c#d%2F"), "/items/a%20b%3Fc%23d%252F"),
        (("items", "né"), "/items/n%C3%A9"),
        (("items", "."), "/items/%2E"),
        (("items", ".."), "/items/%2E%2E"),
        (("items", "..."), "/items/..."),
    ],
)
def test_path_holds_any_id(segments: tuple[str, ...], path: str) -> None:
    """What would mean something in a path is encoded."""
    assert path_of(*segments) == path


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_path_segment_comes_back_as_it_was(item_id: str) -> None:
    """Decoded, the one segment is the id."""
    assert path_of(item_id).count("/") == 1
    assert unquote(path_of(item_id)[1:]) == item_id


@pytest.mark.parametrize("item_id", ["", "\ud800"])
def test_id_that_no_path_holds_is_refused(item_id: str) -> None:
    """An empty id would be another path, half a character is no UTF-8."""
    with pytest.raises(ValueError, match=r"empty|surrogates"):
        path_of("items", item_id)


def test_body_leaves_out_what_has_its_default() -> None:
    """And keeps what is false or empty on purpose."""
    body = PutItemRequest(attributes={"title": "Heat", "genres": ["Crime"]}, categories=[], available=False)

    assert json.loads(json_of(body)) == {
        "attributes": {"title": "Heat", "genres": ["Crime"]},
        "categories": [],
        "available": False,
    }
    assert json_of(PutItemRequest(attributes={"title": "é"})) == b'{"attributes":{"title":"\\u00e9"}}'


def test_number_that_json_has_not_is_refused() -> None:
    """NaN would else be sent as something that no service reads."""
    with pytest.raises(ValueError, match="JSON compliant"):
        json_of(PutItemRequest(attributes={"year": float("nan")}))
