"""Faults of a body, collected with their whole places."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmemb.errors import InvalidItemError
from service.errors import Fault, InvalidRequestError


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
