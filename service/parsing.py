"""From a body's content to values that the use cases take: checked once, every fault collected with its place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmemb.errors import InvalidItemError
from llmemb.item import Attributes, Item, parse_attributes, parse_item_id
from llmemb.prompt import PromptSpec
from service.errors import Fault, InvalidRequestError
from service.schemas import HistoryItem, ItemBody, RecommendRequest
from service.settings import Settings

HistoryEntry = str | Attributes
"""An item's id, or the attributes of an item given inline."""


def parse_items(bodies: Sequence[ItemBody], prompt: PromptSpec, settings: Settings) -> list[Item]:
    """Check the items of `/embed_items`.

    Raises:
        InvalidRequestError: there are too many, an id comes twice, or an id or attributes cannot be used.
    """
    if len(bodies) > settings.max_items_per_request:
        raise _too_many("items", len(bodies), settings.max_items_per_request)
    faults: list[Fault] = []
    items: list[Item] = []
    seen: dict[str, int] = {}
    for i, body in enumerate(bodies):
        with _collect(faults, "items", i):
            item = Item(parse_item_id(body.id), _parse_attributes(body.attributes, prompt, settings))
            first = seen.setdefault(item.id, i)
            if first != i:
                raise InvalidItemError("id", f"the same id as items.{first}; each may come once")
            items.append(item)
    if faults:
        raise InvalidRequestError(faults)
    return items


def parse_history(body: RecommendRequest, prompt: PromptSpec, settings: Settings) -> list[HistoryEntry]:
    """Check the history and `k` of `/recommend`; whether the ids are known, the catalogue says.

    Raises:
        InvalidRequestError: the history is too long, `k` too great, or an id or attributes cannot be used.
    """
    if len(body.history) > settings.max_history_items:
        raise _too_many("history", len(body.history), settings.max_history_items)
    faults: list[Fault] = []
    if body.k > settings.max_k:
        faults.append(Fault(("body", "k"), f"must be at most {settings.max_k}", "too_great"))
    history: list[HistoryEntry] = []
    for i, entry in enumerate(body.history):
        with _collect(faults, "history", i):
            if isinstance(entry, HistoryItem):
                history.append(_parse_attributes(entry.attributes, prompt, settings))
            else:
                history.append(parse_item_id(entry))
    if faults:
        raise InvalidRequestError(faults)
    return history


def _parse_attributes(raw: dict[str, object], prompt: PromptSpec, settings: Settings) -> Attributes:
    attributes = parse_attributes(raw)
    prompt.check(attributes)
    for name, value in attributes.items():
        characters = len(value) if isinstance(value, str) else sum(map(len, value))
        if characters > settings.max_value_characters:
            raise InvalidItemError(
                f"attributes.{name}", f"has {characters} characters, at most {settings.max_value_characters} are taken"
            )
    return attributes


@contextmanager
def _collect(faults: list[Fault], list_name: str, position: int) -> Iterator[None]:
    """Turn an item's error into a fault with its whole place in the body."""
    try:
        yield
    except InvalidItemError as error:
        place: tuple[str, ...] = tuple(error.location.split(".", 1))
        faults.append(Fault(("body", list_name, position, *place), error.message, error.code))


def _too_many(list_name: str, number: int, most: int) -> InvalidRequestError:
    return InvalidRequestError(
        [Fault(("body", list_name), f"has {number} entries, at most {most} are taken", "too_long")]
    )
