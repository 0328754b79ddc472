"""The bodies and parameters of `/embed_items` and `/items`."""

from collections.abc import Sequence

from llmemb.api.items import ItemBody, PatchItemRequest, PutItemRequest
from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import parse_item_id
from service.catalogue.pending import NewItem
from service.errors import Fault, InvalidRequestError
from service.http.parsing.faults import checked_attributes, collected, raise_any, too_many
from service.settings import Settings


def parse_items(bodies: Sequence[ItemBody], prompt: PromptSpec, settings: Settings) -> list[NewItem]:
    """Check the items of `/embed_items`.

    Raises:
        InvalidRequestError: there are too many, an id comes twice, or an id or attributes cannot be used.
    """
    if len(bodies) > settings.max_items_per_request:
        raise too_many("items", len(bodies), settings.max_items_per_request)
    faults: list[Fault] = []
    items: list[NewItem] = []
    seen: dict[str, int] = {}
    for i, body in enumerate(bodies):
        with collected(faults, "body", "items", i):
            item_id = parse_item_id(body.id)
            first = seen.setdefault(item_id, i)
            if first != i:
                raise InvalidItemError("id", f"the same id as items.{first}; each may come once")
            items.append(_item(item_id, body, prompt, settings))
    raise_any(faults)
    return items


def parse_put(item_id: str, body: PutItemRequest, prompt: PromptSpec, settings: Settings) -> NewItem:
    """Check the item of `PUT /items/{item_id}`.

    Raises:
        InvalidRequestError: its id or attributes cannot be used.
    """
    faults: list[Fault] = []
    with collected(faults, "path"):
        parse_item_id(item_id)
    faults = [Fault(("path", "item_id"), fault.msg, fault.type) for fault in faults]
    with collected(faults, "body"):
        item = _item(item_id, body, prompt, settings)
    raise_any(faults)
    return item


def parse_patch(body: PatchItemRequest) -> tuple[str, ...] | None:
    """Check the body of `PATCH /items/{item_id}`, and return its categories.

    Raises:
        InvalidRequestError: it changes nothing.
    """
    if body.categories is None and body.available is None:
        message = "changes nothing: it may hold `categories`, `available` or both"
        raise InvalidRequestError([Fault(("body",), message, "empty_patch")])
    return _categories(body.categories)


def check_limit(name: str, value: int, settings: Settings) -> None:
    """Check how many items a parameter asks for.

    Raises:
        InvalidRequestError: they are more than one request may ask for.
    """
    if value > settings.max_k:
        raise InvalidRequestError([Fault(("query", name), f"must be at most {settings.max_k}", "too_great")])


def _item(item_id: str, body: ItemBody | PutItemRequest, prompt: PromptSpec, settings: Settings) -> NewItem:
    attributes = checked_attributes(body.attributes, prompt, settings)
    return NewItem(item_id, attributes, _categories(body.categories), body.available)


def _categories(categories: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return each category once, in their order."""
    return None if categories is None else tuple(dict.fromkeys(categories))
