"""An item: an id and its attributes, checked once where it enters."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmemb.errors import InvalidItemError

AttributeValue = str | tuple[str, ...]
Attributes = Mapping[str, AttributeValue]
_EXPONENT = 1e16
"""From here on Python writes a float with an exponent."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalogue. `attributes` are checked: see `parse_attributes`."""

    id: str
    attributes: Attributes


def parse_item_id(value: object) -> str:
    """Check an item id: a non-empty string of at most 256 characters that UTF-8 can hold.

    Raises:
        InvalidItemError: `value` is anything else.
    """
    if not isinstance(value, str) or not value or len(value) > 256:
        raise InvalidItemError("id", "must be a string of 1 to 256 characters")
    _check_encodable(value, "id")
    return value


def parse_attributes(raw: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Check attributes as JSON gives them, and bring them to strings and tuples of strings.

    A value is a string, a finite number or a list of these; a number becomes its shortest text, 1995.0 `1995`.
    `null`, an empty string and an empty list mean that the attribute is missing, and it is left out. The order is kept.

    Raises:
        InvalidItemError: a name or a value is of another type, not finite, or not valid Unicode, or no
            attribute is left.
    """
    attributes = parse_perhaps_no_attributes(raw)
    if not attributes:
        raise InvalidItemError("attributes", "an item needs at least one attribute that is not empty")
    return attributes


def parse_perhaps_no_attributes(raw: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Check attributes as `parse_attributes` does, but allow an item without any.

    Raises:
        InvalidItemError: as in `parse_attributes`, but for that.
    """
    attributes: dict[str, AttributeValue] = {}
    for name, value in raw.items():
        if not name.strip():
            raise InvalidItemError("attributes", "an attribute's name must not be empty")
        _check_encodable(name, "attributes")
        location = f"attributes.{name}"
        if isinstance(value, list | tuple):
            texts = (_text(entry, f"{location}[{i}]") for i, entry in enumerate(value))
            parsed: AttributeValue = tuple(text for text in texts if text)
        else:
            parsed = _text(value, location)
        if parsed:
            attributes[name] = parsed
    return attributes


def attributes_to_json(attributes: Attributes) -> str:
    """Write attributes as one line of JSON, tuples as lists, in their order."""
    return json.dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"))


def attributes_from_json(text: str) -> dict[str, AttributeValue]:
    """Read what `attributes_to_json` wrote.

    Raises:
        InvalidItemError: the text holds something else.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InvalidItemError("attributes", f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidItemError("attributes", f"must be a JSON object, not {type(raw).__name__}")
    return parse_attributes(raw)


def _text(value: object, location: str) -> str:
    """One value as text, "" where it is missing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidItemError(location, f"must be a string, a number or a list of these, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidItemError(location, f"must be a finite number, not {value}")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXPONENT:
        # JSON has no other type for 1995.0, and a table beside a missing value none for 1995: the text must not differ.
        value = int(value)
    text = value if isinstance(value, str) else str(value)
    _check_encodable(text, location)
    return text if text.strip() else ""


def _check_encodable(text: str, location: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidItemError(location, "holds half of a surrogate pair, which is not valid Unicode") from error
