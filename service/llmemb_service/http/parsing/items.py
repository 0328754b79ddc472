"""The bodies and parameters of `/embed_items` and `/items`."""

from collections.abc import Sequence

from llmemb.api.items import ItemBody, PatchItemRequest, PutItemRequest
from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import parse_item_id
from llmemb_service.catalogue.pending import NewItem
from llmemb_service.errors import Fault, InvalidRequestError
from llmemb_service.http.parsing.faults import checked_attributes, collected, raise_any, too_many
from llmemb_service.settings import Settings


def parse_items(bodies: Sequence[ItemBody], prompt: PromptSpec, settings: Settings) -> list[NewItem]:
    """Validate the items of `/embed_items`.

    Raises:
        InvalidRequestError: there are too many items, an id occurs twice, or an id or attributes are invalid.
    """
    if len(bodies) > settings.max_client_batch_size:
        raise too_many("items", len(bodies), settings.max_client_batch_size)
    faults: list[Fault] = []
    items: list[NewItem] = []
    seen: dict[str, int] = {}
    for i, body in enumerate(bodies):
        with collected(faults, "body", "items", i):
            item_id = parse_item_id(body.id)
            first = seen.setdefault(item_id, i)
            if first != i:
                raise InvalidItemError("id", f"the same id as items.{first}; ids must be distinct")
            items.append(_item(item_id, body, prompt, settings))
    raise_any(faults)
    return items


def parse_put(item_id: str, body: PutItemRequest, prompt: PromptSpec, settings: Settings) -> NewItem:
    """Validate the item of `PUT /items/{item_id}`.

    Raises:
        InvalidRequestError: the id or the attributes are invalid.
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
    """Validate the body of `PATCH /items/{item_id}` and return its categories.

    Raises:
        InvalidRequestError: the body changes nothing.
    """
    if body.categories is None and body.available is None:
        message = "changes nothing: send `categories`, `available` or both"
        raise InvalidRequestError([Fault(("body",), message, "empty_patch")])
    return _categories(body.categories)


def check_limit(name: str, value: int, settings: Settings) -> None:
    """Validate a query parameter that is a number of items.

    Raises:
        InvalidRequestError: the number is above `settings.max_k`.
    """
    if value > settings.max_k:
        raise InvalidRequestError([Fault(("query", name), f"must be at most {settings.max_k}", "too_great")])


def _item(item_id: str, body: ItemBody | PutItemRequest, prompt: PromptSpec, settings: Settings) -> NewItem:
    attributes = checked_attributes(body.attributes, prompt, settings)
    return NewItem(item_id, attributes, _categories(body.categories), body.available)


def _categories(categories: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the distinct categories, in their order."""
    return None if categories is None else tuple(dict.fromkeys(categories))
