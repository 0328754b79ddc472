"""Sessions: histories that the service keeps."""

from typing import Annotated

from pydantic import Field

from llmemb.api.base import RequestBody, ResponseBody


class Event(RequestBody):
    """Somebody met an item."""

    item_id: str = Field(json_schema_extra={"minLength": 1, "maxLength": 256})


class EventsRequest(RequestBody):
    """Events to append, the oldest first."""

    events: Annotated[list[Event], Field(min_length=1)]


class SessionResponse(ResponseBody):
    """A session as it is kept."""

    session_id: str
    history: list[str]
    """Ids, the oldest first; the most recent ones, as many as the model reads."""
    expires_in_seconds: int
    """When it is forgotten, unless an event comes first."""
