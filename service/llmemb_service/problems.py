"""Every error of the service in one shape, RFC 9457 `application/problem+json`, and the exception handlers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from llmemb.api.base import CONTENT_TYPE
from llmemb.errors import LlmembError, UnknownItemError
from llmemb_service.errors import (
    Fault,
    InvalidRequestError,
    NotReadyError,
    RetryLaterError,
    UnauthorizedError,
    UnknownEntriesError,
)

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_FILE_METHODS = "GET, HEAD, OPTIONS"


def allowed_methods(request: Request) -> str:
    """Return the header `Allow`: the methods of all routes that match the path, "" if there is none.

    Every path with GET has HEAD, and every path has OPTIONS: `http/routes/lean_route.py` answers them.
    """
    routes: list[BaseRoute] = request.app.routes
    allowed = [
        method for method in _METHODS if any(_serves(route, {**request.scope, "method": method}) for route in routes)
    ]
    if "GET" in allowed:
        allowed.append("HEAD")
    return ", ".join(sorted([*allowed, "OPTIONS"])) if allowed else ""


def _serves(route: BaseRoute, scope: Scope) -> bool:
    # The mount of the docs' files matches every method, and serves GET and HEAD.
    return route.matches(scope)[0] is Match.FULL and (not isinstance(route, Mount) or scope["method"] == "GET")


MAX_FAULTS = 100
"""Maximum number of faults in one answer, so that a body with thousands of bad items gets a short answer."""
MAX_LOC_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """Status and title of the problems with one code. Python's own titles would change with its version."""

    status: int
    title: str


PROBLEMS: dict[str, ProblemKind] = {
    "invalid_json": ProblemKind(400, "The body is not valid JSON"),
    "unauthorized": ProblemKind(401, "An API key is needed"),
    "forbidden": ProblemKind(403, "The API key does not allow this"),
    "not_found": ProblemKind(404, "There is nothing at this path"),
    "item_not_found": ProblemKind(404, "The item is not in the catalogue"),
    "session_not_found": ProblemKind(404, "The session does not exist"),
    "model_not_found": ProblemKind(404, "There is no such model"),
    "bundle_not_found": ProblemKind(404, "There is no such bundle"),
    "method_not_allowed": ProblemKind(405, "The path does not support this method"),
    "body_timeout": ProblemKind(408, "The body was not received in time"),
    "catalogue_full": ProblemKind(409, "The catalogue is full"),
    "swap_refused": ProblemKind(409, "The bundle cannot take over"),
    "body_too_large": ProblemKind(413, "The body is too large"),
    "unsupported_media_type": ProblemKind(415, "The body must be JSON"),
    "unsupported_encoding": ProblemKind(415, "The body's encoding is not supported"),
    "invalid_request": ProblemKind(422, "The request is invalid"),
    "unknown_item": ProblemKind(422, "The items are not in the catalogue"),
    "overloaded": ProblemKind(429, "The service is overloaded"),
    "rate_limited": ProblemKind(429, "Too many requests"),
    "internal": ProblemKind(500, "The service failed"),
    "not_ready": ProblemKind(503, "The service is not ready"),
    "encoder_unavailable": ProblemKind(503, "The encoder is unavailable"),
    "storage": ProblemKind(503, "The storage is unavailable"),
    "deadline": ProblemKind(504, "The request timed out"),
}


class ProblemResponse(Response):
    """A problem answer; it records its code for `service/llmemb_service/http/middleware/request.py`."""

    media_type = CONTENT_TYPE

    def __init__(self, body: bytes, code: str, headers: Mapping[str, str]) -> None:
        super().__init__(body, PROBLEMS[code].status, dict(headers))
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer as an ASGI app."""
        scope["state"]["problem"] = self._code
        await super().__call__(scope, receive, send)


def problem_response(
    code: str,
    detail: str,
    request_id: str,
    *,
    faults: Sequence[Fault] | None = None,
    members: Mapping[str, JsonValue] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer for an error.

    Args:
        code: a key of `PROBLEMS`.
        detail: what is wrong with this request; never the text of an internal exception.
        request_id: a UUID.
        faults: every fault of the request; at most 100 are listed.
        members: additional members of this code.
        headers: of the answer.
    """
    kind = PROBLEMS[code]
    content: dict[str, JsonValue] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": f"urn:uuid:{request_id}",
        "code": code,
    }
    if faults is not None:
        content["errors"] = [_fault_member(fault) for fault in faults[:MAX_FAULTS]]
    # Names from the body can contain half a surrogate pair, which UTF-8 cannot encode; "?" replaces it.
    body = json.dumps(content | dict(members or {}), ensure_ascii=False).encode("utf-8", "replace")
    return ProblemResponse(body, code, headers or {})


def _fault_member(fault: Fault) -> JsonValue:
    loc: list[JsonValue] = [part if isinstance(part, int) else part[:MAX_LOC_CHARACTERS] for part in fault.loc]
    return {"loc": loc, "msg": fault.msg, "type": fault.type}


_CODES_BY_STATUS = {
    400: ("invalid_json", "the body cannot be read as JSON in UTF-8"),
    404: ("not_found", "there is nothing at this path; /docs lists all paths"),
    405: ("method_not_allowed", "the path does not support this method; the header Allow lists the supported ones"),
    408: ("body_timeout", "the service stopped waiting for the rest of the body; send the request again"),
    413: ("body_too_large", "the body is over the maximum size, which /info shows"),
}


def add_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every error as a problem."""
    app.add_exception_handler(LlmembError, _our_error)
    app.add_exception_handler(RequestValidationError, _faulty_body)
    app.add_exception_handler(HTTPException, _http_error)


def problem_of(request: Request, error: LlmembError | HTTPException) -> Response:
    """Make the answer for an error outside FastAPI's handlers.

    Raises:
        Exception: the error itself, if no problem is defined for it.
    """
    return _our_error(request, error) if isinstance(error, LlmembError) else _http_error(request, error)


def _our_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LlmembError) or error.code not in PROBLEMS:
        raise error  # a bug, which becomes a 500
    return error_response(error, request.state.request_id)


def error_response(error: LlmembError, request_id: str) -> Response:
    """Make the answer for one of the project's errors; it also works outside of routes.

    Args:
        error: one whose code is in `PROBLEMS`.
        request_id: a UUID.
    """
    return problem_response(
        error.code,
        str(error),
        request_id,
        faults=_faults_of(error),
        members=_members_of(error),
        headers=_headers_of(error),
    )


def _headers_of(error: LlmembError) -> dict[str, str] | None:
    if isinstance(error, RetryLaterError):
        return {"Retry-After": str(error.retry_after_seconds)}
    if isinstance(error, UnauthorizedError):
        return {"WWW-Authenticate": "Bearer"}
    return None


def _faults_of(error: LlmembError) -> Sequence[Fault] | None:
    if isinstance(error, InvalidRequestError | UnknownEntriesError):
        return error.faults
    if isinstance(error, UnknownItemError):
        return [Fault(("body", "history"), f"no item has the id {item_id!r}", error.code) for item_id in error.item_ids]
    return None


def _members_of(error: LlmembError) -> dict[str, JsonValue] | None:
    if isinstance(error, UnknownItemError):
        return {"unknown_item_ids": list(error.item_ids)}
    if isinstance(error, NotReadyError) and error.checks is not None:
        return {"checks": dict(error.checks)}
    return None


def _faulty_body(request: Request, error: Exception) -> Response:
    faults = cast(RequestValidationError, error).errors()
    request_id = request.state.request_id
    if faults[0]["type"] == "json_invalid":
        reason, position = faults[0]["ctx"]["error"], faults[0]["loc"][-1]
        return problem_response("invalid_json", f"the body is not JSON: {reason} at character {position}", request_id)
    # FastAPI validates a body of another media type as bytes, which fails.
    if faults[0]["loc"] == ("body",) and faults[0]["type"] != "missing" and not _is_json(request):
        detail = "send the body with the header Content-Type: application/json"
        return problem_response("unsupported_media_type", detail, request_id)
    invalid = InvalidRequestError([_fault(fault) for fault in faults])
    return problem_response(invalid.code, str(invalid), request_id, faults=invalid.faults)


def _fault(fault: dict[str, Any]) -> Fault:
    # Without `input` and `ctx`: they contain arbitrary data of the client.
    return Fault(tuple(fault["loc"]), fault["msg"], fault["type"])


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code not in _CODES_BY_STATUS:
        raise error  # not raised on purpose, so it is a bug
    code, detail = _CODES_BY_STATUS[error.status_code]
    headers = error.headers
    if code == "method_not_allowed":
        # No route matches if the mount of the docs' files has refused the method.
        headers = {"Allow": allowed_methods(request) or _FILE_METHODS}
    return problem_response(code, detail, request.state.request_id, headers=headers)
