"""Faults of a request, collected with their locations, and the validation of an item's attributes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, parse_attributes
from llmemb_service.errors import Fault, InvalidRequestError
from llmemb_service.settings import Settings


@contextmanager
def collected(faults: list[Fault], *place: str | int) -> Iterator[None]:
    """Turn an item's error into a fault; `place` is the item's location, such as `body, items, 3`."""
    try:
        yield
    except InvalidItemError as error:
        faults.append(Fault((*place, *error.location.split(".", 1)), error.message, error.code))


def raise_any(faults: Sequence[Fault]) -> None:
    """Raise if there are faults.

    Raises:
        InvalidRequestError: there is at least one fault.
    """
    if faults:
        raise InvalidRequestError(faults)


def too_many(list_name: str, number: int, maximum: int) -> InvalidRequestError:
    """Return the error for a list of the body that is too long."""
    return InvalidRequestError(
        [Fault(("body", list_name), f"has {number} entries; the maximum is {maximum}", "too_long")]
    )


def checked_attributes(raw: dict[str, object], prompt: PromptSpec, settings: Settings) -> Attributes:
    """Validate attributes against the bundle's names and the limits.

    Raises:
        InvalidItemError: an attribute is invalid; the message says which and why.
    """
    attributes = parse_attributes(raw)
    prompt.check(attributes)
    for name, value in attributes.items():
        characters = len(value) if isinstance(value, str) else sum(map(len, value))
        if characters > settings.max_value_characters:
            raise InvalidItemError(
                f"attributes.{name}", f"has {characters} characters; the maximum is {settings.max_value_characters}"
            )
    return attributes
