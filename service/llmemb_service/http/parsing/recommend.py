"""The bodies of `/recommend`, `/recommend/batch` and `/sessions/{session_id}/events`."""

from collections.abc import Sequence

from llmemb.api.recommend import EventsRequest, Filters, HistoryItem, RecommendBatchRequest, RecommendRequest
from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import InvalidItemError
from llmemb.item import parse_item_id
from llmemb_service.errors import Fault
from llmemb_service.http.parsing.faults import checked_attributes, collected, raise_any, too_many
from llmemb_service.ranking.query import HistoryEntry, Query
from llmemb_service.settings import Settings

Place = tuple[str | int, ...]
MAX_PLAIN_ID = 256
"""Every id of up to this many ASCII characters is valid."""
_FILTER_LISTS = ("categories_any", "categories_all", "allow", "deny")


def parse_query(body: RecommendRequest, prompt: PromptSpec, settings: Settings) -> Query:
    """Validate the body of `/recommend`; the recommender checks whether its ids are known.

    Returns:
        The query. For a session, its history is empty and the caller fills in the stored one.

    Raises:
        InvalidRequestError: the body has neither or both of history and session, a list is too long, `k` is too large,
            or an id or attributes are invalid.
    """
    faults: list[Fault] = []
    query = _query(body, prompt, settings, faults, ("body",))
    raise_any(faults)
    return query


def parse_queries(body: RecommendBatchRequest, prompts: Sequence[PromptSpec], settings: Settings) -> list[Query]:
    """Validate the body of `/recommend/batch`, each request as `parse_query` does.

    Args:
        body: of the request.
        prompts: for each request, that of the bundle that answers it.
        settings: the limits.

    Raises:
        InvalidRequestError: as in `parse_query`, with the faults of all requests.
    """
    faults: list[Fault] = []
    queries = [
        _query(request, prompt, settings, faults, ("body", "requests", i))
        for i, (request, prompt) in enumerate(zip(body.requests, prompts, strict=True))
    ]
    raise_any(faults)
    return queries


def check_number_of_requests(body: RecommendBatchRequest, settings: Settings) -> None:
    """Validate the number of requests of a batch.

    Raises:
        InvalidRequestError: there are too many.
    """
    if len(body.requests) > settings.max_client_batch_size:
        raise too_many("requests", len(body.requests), settings.max_client_batch_size)


def parse_events(body: EventsRequest, settings: Settings) -> list[str]:
    """Validate events and return their item ids; the caller checks whether these are known.

    Raises:
        InvalidRequestError: there are too many events, or an id is invalid.
    """
    if len(body.events) > settings.max_history_items:
        raise too_many("events", len(body.events), settings.max_history_items)
    faults: list[Fault] = []
    item_ids = [
        _item_id(event.item_id, faults, ("body", "events", i, "item_id")) for i, event in enumerate(body.events)
    ]
    raise_any(faults)
    return item_ids


def places_of(item_ids: Sequence[str], body: RecommendRequest, *place: str | int) -> list[Place]:
    """Return the locations of these ids in a body's history."""
    wanted = set(item_ids)
    return [
        (*place, "history", i)
        for i, entry in enumerate(body.history or ())
        if isinstance(entry, str) and entry in wanted
    ]


def _query(body: RecommendRequest, prompt: PromptSpec, settings: Settings, faults: list[Fault], place: Place) -> Query:
    if body.history is None and body.session_id is None:
        faults.append(Fault((*place, "history"), "send a history or a session_id", "missing"))
    if body.history is not None and body.session_id is not None:
        faults.append(Fault((*place, "session_id"), "send either a history or a session_id, not both", "too_many"))
    if body.k > settings.max_k:
        faults.append(Fault((*place, "k"), f"must be at most {settings.max_k}", "too_great"))
    faults += _filter_faults(body.filters, settings, (*place, "filters"))
    return Query(
        history=_history(body, prompt, settings, faults, (*place, "history")),
        k=body.k,
        filters=body.filters,
        exclude_history=body.exclude_history,
        explain=body.explain,
        strategy=body.strategy,
        stored=body.session_id is not None,
    )


def _history(
    body: RecommendRequest, prompt: PromptSpec, settings: Settings, faults: list[Fault], place: Place
) -> Sequence[HistoryEntry]:
    sent = body.history or []
    if len(sent) > settings.max_history_items:
        faults.append(_too_long(place, len(sent), settings.max_history_items))
        return []
    plain = _plain_ids(sent)
    if plain is not None:
        return plain
    history: list[HistoryEntry] = []
    for i, entry in enumerate(sent):
        if isinstance(entry, HistoryItem):
            with collected(faults, *place, i):
                history.append(checked_attributes(entry.attributes, prompt, settings))
        else:
            history.append(_item_id(entry, faults, (*place, i)))
    return history


def _plain_ids(sent: Sequence[str | HistoryItem]) -> list[str] | None:
    """Return the entries if all are ids that need no check, the usual case, without a check of each one; else None."""
    ids = [entry for entry in sent if isinstance(entry, str)]
    plain = len(ids) == len(sent) and all(ids) and "".join(ids).isascii()
    return ids if plain and max(map(len, ids), default=0) <= MAX_PLAIN_ID else None


def _item_id(sent: str, faults: list[Fault], place: Place) -> str:
    try:
        return parse_item_id(sent)
    except InvalidItemError as error:
        faults.append(Fault(place, error.message, error.code))
        return sent


def _filter_faults(filters: Filters, settings: Settings, place: Place) -> list[Fault]:
    lengths = {name: len(getattr(filters, name) or ()) for name in _FILTER_LISTS if name in filters.model_fields_set}
    maximum = settings.max_filter_values
    return [_too_long((*place, name), length, maximum) for name, length in lengths.items() if length > maximum]


def _too_long(place: Place, number: int, maximum: int) -> Fault:
    return Fault(place, f"has {number} entries; the maximum is {maximum}", "too_long")
