"""`/sessions/{session_id}`: histories that the service stores."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from llmemb.api.recommend import SESSION_ID_PATTERN, EventsRequest, SessionResponse
from llmemb_service.errors import SessionNotFoundError, UnknownEntriesError
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.openapi.examples import EVENTS_EXAMPLES
from llmemb_service.http.parsing.recommend import parse_events
from llmemb_service.http.routes.dependencies import SessionsDep, SettingsDep, VersionsDep
from llmemb_service.storage.session_store import Session

router = APIRouter(prefix="/sessions/{session_id}", tags=["sessions"])

SessionId = Annotated[str, Path(pattern=SESSION_ID_PATTERN, description="The caller's own id of a visit or a person.")]


@router.post(
    "/events",
    summary="Append to a session",
    responses=problem_responses(
        "invalid_json", "body_too_large", "unsupported_media_type", "invalid_request", "unknown_item", "internal",
        "storage", "not_ready",
    ),
)  # fmt: skip
async def append_events(
    session_id: SessionId,
    body: Annotated[EventsRequest, Body(openapi_examples=EVENTS_EXAMPLES)],
    sessions: SessionsDep,
    versions: VersionsDep,
    settings: SettingsDep,
) -> SessionResponse:
    """Append events to a session's history. They are durable when the service answers; the first one creates it.

    The service keeps the most recent items, as many as the model reads. A session expires some time after its last
    event.
    """
    item_ids = parse_events(body, settings)
    snapshot = versions.for_session(session_id).catalogue.snapshot
    unknown = {place: item_id for place, item_id in enumerate(item_ids) if snapshot.row(item_id) is None}
    if unknown:
        places = [("body", "events", place, "item_id") for place in unknown]
        raise UnknownEntriesError(list(dict.fromkeys(unknown.values())), places)
    return _response(session_id, await sessions.append(session_id, item_ids))


@router.get(
    "",
    summary="Read a session",
    responses=problem_responses("session_not_found", "invalid_request", "internal", "storage", "not_ready"),
)
async def read_session(session_id: SessionId, sessions: SessionsDep) -> SessionResponse:
    """Return a session's history and when it expires."""
    session = await sessions.read(session_id)
    if session is None:
        raise SessionNotFoundError(session_id)
    return _response(session_id, session)


@router.delete(
    "",
    status_code=204,
    summary="Delete a session",
    responses=problem_responses("session_not_found", "invalid_request", "internal", "storage", "not_ready"),
)
async def remove_session(session_id: SessionId, sessions: SessionsDep) -> Response:
    """Delete a session and its history."""
    if not await sessions.remove(session_id):
        raise SessionNotFoundError(session_id)
    return Response(status_code=204)


def _response(session_id: str, session: Session) -> SessionResponse:
    return SessionResponse(
        session_id=session_id, history=list(session.history), expires_in_seconds=session.expires_in_seconds
    )
