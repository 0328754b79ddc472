import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_service.catalogue.search.search_file import START, Position
from llmemb_service.errors import InvalidRequestError
from llmemb_service.http.parsing.cursor import decode_cursor, encode_cursor

positions = st.builds(Position, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 10**9))


@given(position=positions, query=st.none() | st.text())
def test_cursor_comes_back_as_it_went(position: Position, query: str | None) -> None:
    """And is safe in a URL."""
    query = None if query is None else query.encode("utf-8", "replace").decode()
    cursor = encode_cursor(position, "bundle", query)

    assert decode_cursor(cursor, "bundle", query) == position
    assert set(cursor) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert len(cursor) <= 256


def test_no_cursor_is_the_start() -> None:
    """Of any list."""
    assert decode_cursor(None, "bundle", "x") == START


@given(position=positions, data=st.data())
def test_tampered_cursor_is_refused_with_its_place(position: Position, data: st.DataObject) -> None:
    """One letter is enough."""
    cursor = encode_cursor(position, "bundle", None)
    place = data.draw(st.integers(0, len(cursor) - 2))
    letter = data.draw(st.sampled_from(string.ascii_letters + "é ").filter(lambda letter: letter != cursor[place]))
    with pytest.raises(InvalidRequestError) as refused:
        decode_cursor(cursor[:place] + letter + cursor[place + 1 :], "bundle", None)

    assert [fault.loc for fault in refused.value.faults] == [("query", "cursor")]


@given(cursor=st.text())
def test_other_text_is_refused(cursor: str) -> None:
    """Whatever it is."""
    with pytest.raises(InvalidRequestError):
        decode_cursor(cursor, "bundle", None)


@pytest.mark.parametrize(("bundle_id", "query"), [("other", "x"), ("bundle", "y"), ("bundle", None)])
def test_cursor_goes_with_its_list(bundle_id: str, query: str | None) -> None:
    """A place in one list says nothing of another."""
    cursor = encode_cursor(Position(1.0, 2), "bundle", "x")
    with pytest.raises(InvalidRequestError):
        decode_cursor(cursor, bundle_id, query)
