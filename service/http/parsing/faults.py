"""Faults of a body, collected with their whole places, and an item's attributes, as all routes take them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, parse_attributes
from service.errors import Fault, InvalidRequestError
from service.settings import Settings


@contextmanager
def collected(faults: list[Fault], *place: str | int) -> Iterator[None]:
    """Turn an item's error into a fault; `place` is where the item stands, such as `body, items, 3`."""
    try:
        yield
    except InvalidItemError as error:
        faults.append(Fault((*place, *error.location.split(".", 1)), error.message, error.code))


def raise_any(faults: Sequence[Fault]) -> None:
    """Raise where there are faults.

    Raises:
        InvalidRequestError: there are.
    """
    if faults:
        raise InvalidRequestError(faults)


def too_many(list_name: str, number: int, most: int) -> InvalidRequestError:
    """Return the error of a list in the body that is too long."""
    return InvalidRequestError(
        [Fault(("body", list_name), f"has {number} entries, at most {most} are taken", "too_long")]
    )


def checked_attributes(raw: dict[str, object], prompt: PromptSpec, settings: Settings) -> Attributes:
    """Check attributes against the bundle's names and the limits.

    Raises:
        InvalidItemError: they cannot be used; says which and why.
    """
    attributes = parse_attributes(raw)
    prompt.check(attributes)
    for name, value in attributes.items():
        characters = len(value) if isinstance(value, str) else sum(map(len, value))
        if characters > settings.max_value_characters:
            raise InvalidItemError(
                f"attributes.{name}", f"has {characters} characters, at most {settings.max_value_characters} are taken"
            )
    return attributes
