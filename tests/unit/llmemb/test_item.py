"""`llmemb.item`: what an item may hold, and what each value becomes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.errors import InvalidItemError
from llmemb.item import attributes_from_json, attributes_to_json, parse_attributes, parse_item_id

ENCODABLE = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = ENCODABLE.filter(str.strip)
VALUES = st.one_of(ENCODABLE, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none())


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("Heat", "Heat"),
        ("  Heat\n", "  Heat\n"),
        (1995, "1995"),
        (0, "0"),
        (-7, "-7"),
        (7.5, "7.5"),
        (1995.0, "1995"),
        (-0.0, "0"),
        (2.0**53, "9007199254740992"),
        (-1e16, "-1e+16"),
        (1e22, "1e+22"),
        ([], None),
        (["Action", "Crime"], ("Action", "Crime")),
        (("Action",), ("Action",)),
        (["Action", None, "", " ", 1995, 7.0], ("Action", "1995", "7")),
        ([None, ""], None),
        (None, None),
        ("", None),
        (" \t\n", None),
    ],
)
def test_value_becomes_text_or_is_missing(value: object, parsed: object) -> None:
    """Strings stay, numbers become text, lists become tuples, and empty values are left out."""
    attributes = parse_attributes({"value": value, "other": "x"})

    assert attributes.get("value") == parsed
    assert attributes["other"] == "x"


@pytest.mark.parametrize(
    ("value", "location", "message"),
    [
        (True, "attributes.a", "not bool"),
        (b"bytes", "attributes.a", "not bytes"),
        ({"deep": 1}, "attributes.a", "not dict"),
        (["x", ["nested"]], "attributes.a[1]", "not list"),
        (["x", False], "attributes.a[1]", "not bool"),
        (math.nan, "attributes.a", "must be a finite number, not nan"),
        (math.inf, "attributes.a", "must be a finite number, not inf"),
        ([0.5, -math.inf], "attributes.a[1]", "must be a finite number, not -inf"),
        ("\ud800", "attributes.a", "surrogate"),
        (["x", "y\udfff"], "attributes.a[1]", "surrogate"),
    ],
)
def test_refused_value_is_named_by_place_and_type(value: object, location: str, message: str) -> None:
    """A value of another type, not finite or no Unicode is refused, and the error says where and why."""
    with pytest.raises(InvalidItemError) as caught:
        parse_attributes({"a": value})

    assert caught.value.location == location
    assert message in caught.value.message
    assert str(caught.value) == f"{caught.value.location}: {caught.value.message}"


@pytest.mark.parametrize("raw", [{}, {"title": None}, {"title": "", "genres": [], "year": [None]}])
def test_item_without_any_attribute_is_refused(raw: dict[str, object]) -> None:
    """An item must say something about itself."""
    with pytest.raises(InvalidItemError, match=r"^attributes: an item needs at least one attribute"):
        parse_attributes(raw)


@pytest.mark.parametrize(("name", "message"), [("", "empty"), ("  ", "empty"), ("\ud83d", "surrogate")])
def test_unusable_attribute_name_is_refused(name: str, message: str) -> None:
    """A name is not empty, and UTF-8 can hold it."""
    with pytest.raises(InvalidItemError, match=message) as caught:
        parse_attributes({"title": "Heat", name: "x"})

    assert caught.value.location == "attributes"


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_order_of_attributes_is_kept(names: list[str]) -> None:
    """Attributes come out in the order in which they came in."""
    assert list(parse_attributes(dict.fromkeys(names, "x"))) == names


@given(st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=4), max_size=5))
def test_attributes_survive_json(raw: dict[str, object]) -> None:
    """Attributes written as JSON and read again are the same, their order too."""
    attributes = parse_attributes({"title": "Heat"} | raw | {"title": "Heat"})

    read = attributes_from_json(attributes_to_json(attributes))

    assert list(read.items()) == list(attributes.items())


def test_json_is_one_compact_line_in_plain_letters() -> None:
    """The JSON of attributes has no needless space, no line break and no escaped letters."""
    text = attributes_to_json({"title": "Amélie\n", "genres": ("Comedy", "愛")})

    assert text == '{"title":"Amélie\\n","genres":["Comedy","愛"]}'


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", '"title"', '{"title": true}', '{"title": NaN}', "{}"])
def test_json_of_something_else_is_refused(text: str) -> None:
    """Text that is no JSON object of attributes is an item error, not a crash."""
    with pytest.raises(InvalidItemError):
        attributes_from_json(text)


@pytest.mark.parametrize("item_id", ["1", "a" * 256, "é 愛/..?", " "])
def test_item_id_is_kept_as_it_is(item_id: str) -> None:
    """Any string of 1 to 256 characters is an id."""
    assert parse_item_id(item_id) == item_id


@pytest.mark.parametrize("item_id", ["", "a" * 257, 1, None, True, ["1"], "\udcff"])
def test_unusable_item_id_is_refused(item_id: object) -> None:
    """An id that is no string, empty, too long or no Unicode is refused, at `id`."""
    with pytest.raises(InvalidItemError) as caught:
        parse_item_id(item_id)

    assert caught.value.location == "id"
