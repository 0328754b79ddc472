"""Bodies of `/recommend` and `/sessions`, and the filters."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from llmemb.api.base import INTEGRAL, NULL_IS_LEFT_OUT, AttributesBody, RequestBody, ResponseBody

Strategy = Literal["all", "collaborative", "semantic", "successors", "popular"]
"""What scores: see `RecommendRequest.strategy`."""
SESSION_ID_PATTERN = r"^[A-Za-z0-9._:@=-]{1,128}$"


class HistoryItem(RequestBody):
    """An item of a history by its attributes; the catalogue need not hold it."""

    attributes: AttributesBody


def _history_kind(entry: object) -> str:
    return "id" if isinstance(entry, str) else "item"


HistoryEntry = Annotated[Annotated[str, Tag("id")] | Annotated[HistoryItem, Tag("item")], Discriminator(_history_kind)]


class Filters(RequestBody):
    """Which items may be recommended. The best items that pass are returned: filters do not shorten the answer."""

    categories_any: Annotated[list[str], NULL_IS_LEFT_OUT] = Field(default=[])
    """Items with at least one of these; empty: any item."""
    categories_all: Annotated[list[str], NULL_IS_LEFT_OUT] = Field(default=[])
    """Items with all of these."""
    available: bool | None = True
    """True: available items only; false: the others only; null: both."""
    allow: list[str] | None = None
    """Ids: only these items may be recommended. Ids that are not in the catalogue are ignored."""
    deny: Annotated[list[str], NULL_IS_LEFT_OUT] = Field(default=[])
    """Ids that may not be recommended. Ids that are not in the catalogue are ignored."""


_ANY_AVAILABLE = Filters()


class RecommendRequest(RequestBody):
    """A history or a session, and how many items to recommend after it."""

    history: list[HistoryEntry] | None = None
    """Ids and items by attributes, the oldest first. The model reads the most recent ones, as many as it was trained
    for. Empty: the most popular items are recommended. Either `history` or `session_id` is sent."""
    session_id: Annotated[str, Field(pattern=SESSION_ID_PATTERN)] | None = None
    """A session with stored events; without any, the most popular items are recommended."""
    k: Annotated[int, Field(ge=1), INTEGRAL, NULL_IS_LEFT_OUT] = 10
    """How many items; if fewer pass the filters, all of them are returned."""
    # Not `Filters()`, of which each request would get a deep copy.
    filters: Annotated[Filters, NULL_IS_LEFT_OUT] = Field(default_factory=lambda: _ANY_AVAILABLE)
    exclude_history: Annotated[bool, NULL_IS_LEFT_OUT] = True
    """Recommend no item whose id is in the history."""
    explain: Annotated[bool, NULL_IS_LEFT_OUT] = False
    """Return for each item the history entries that contributed to it."""
    strategy: Annotated[Strategy, NULL_IS_LEFT_OUT] = "all"
    """`all`: the whole score. Or a part of it alone, to see what it does: `collaborative`, what the sequence model
    says; `semantic`, the likeness of the texts, where `/info` names a `semantic_term`; `successors`, the likeness to
    what others took next, where that term has a `delta`; `popular`, interactions in training."""
    bundle_id: Annotated[str, Field(max_length=64)] | None = None
    """One of the loaded bundles, see `/admin/bundles`; null: the one that answers the session."""


class Reason(ResponseBody):
    """An entry of the history, and its contribution to an item's score."""

    position: int
    """In the history as it was sent, or as the session holds it, from 0."""
    id: str | None
    """Null for an entry that was given by attributes."""
    contribution: float
    """How much the item's score falls without the entry; negative if it rises."""


class RecommendedItem(ResponseBody):
    """One recommended item."""

    id: str
    score: float
    """Inner product of session vector and item embedding, plus the semantic term where the bundle has one; with
    `fallback`, the popularity."""
    attributes: dict[str, str | list[str]]
    reasons: list[Reason] | None = None
    """With `explain`: the entries that the model read, the largest contribution first."""


class RecommendResponse(ResponseBody):
    """Recommended items, the best first."""

    bundle_id: str
    items: list[RecommendedItem]
    fallback: Literal["popular"] | None
    """`popular` if there was no history or popularity was requested; else null."""


class RecommendBatchRequest(RequestBody):
    """Several requests in one."""

    requests: Annotated[list[RecommendRequest], Field(min_length=1)]


class RecommendBatchResponse(ResponseBody):
    """Answers in the order of the requests."""

    results: list[RecommendResponse]


class Event(RequestBody):
    """An interaction with an item."""

    item_id: str = Field(json_schema_extra={"minLength": 1, "maxLength": 256})


class EventsRequest(RequestBody):
    """Events to append, the oldest first."""

    events: Annotated[list[Event], Field(min_length=1)]


class SessionResponse(ResponseBody):
    """A stored session."""

    session_id: str
    history: list[str]
    """Ids, the oldest first; the most recent ones, as many as the model reads."""
    expires_in_seconds: int
    """When the session expires, unless an event is added first."""
