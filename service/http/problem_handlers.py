"""From an error to its problem: our own errors, FastAPI's faults of a body, and Starlette's statuses.

What none of these handles is a bug, and `service/http/request_middleware.py` answers it.
"""

from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.responses import Response

from llmemb.errors import LlmembError, UnknownItemError
from service.errors import (
    Fault,
    InvalidRequestError,
    NotReadyError,
    RetryLaterError,
    UnauthorizedError,
    UnknownEntriesError,
)
from service.http.allowed_methods import allowed_methods
from service.http.problems import PROBLEMS, problem_response

_CODES_BY_STATUS = {
    400: ("invalid_json", "the body cannot be read as JSON in UTF-8"),
    404: ("not_found", "there is nothing at this path; /docs lists what there is"),
    405: ("method_not_allowed", "the path does not take this method; the header Allow lists those it takes"),
    408: ("body_timeout", "the body did not come within the time that the service waits for it; send it again"),
    413: ("body_too_large", "the body is larger than the service takes; /info names the limit"),
}


def add_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every error as a problem."""
    app.add_exception_handler(LlmembError, _our_error)
    app.add_exception_handler(RequestValidationError, _faulty_body)
    app.add_exception_handler(HTTPException, _http_error)


def problem_of(request: Request, error: LlmembError | HTTPException) -> Response:
    """Make the answer for an error that no handler has seen.

    Raises:
        Exception: the error itself, where it is no error of a request.
    """
    return _our_error(request, error) if isinstance(error, LlmembError) else _http_error(request, error)


def _our_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LlmembError) or error.code not in PROBLEMS:
        raise error  # no error of a request: a bug, answered as one
    return error_response(error, request.state.request_id)


def error_response(error: LlmembError, request_id: str) -> Response:
    """Make the answer for an error of ours, also where no route was reached.

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
    # FastAPI leaves a body of another type as bytes, and finds that they are no object.
    if faults[0]["loc"] == ("body",) and faults[0]["type"] != "missing" and not _is_json(request):
        detail = "send the body with the header Content-Type: application/json"
        return problem_response("unsupported_media_type", detail, request_id)
    invalid = InvalidRequestError([_fault(fault) for fault in faults])
    return problem_response(invalid.code, str(invalid), request_id, faults=invalid.faults)


def _fault(fault: dict[str, Any]) -> Fault:
    # Neither `input` nor `ctx`: they hold what the client sent, which may be anything.
    return Fault(tuple(fault["loc"]), fault["msg"], fault["type"])


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code not in _CODES_BY_STATUS:
        raise error  # nobody raises it on purpose
    code, detail = _CODES_BY_STATUS[error.status_code]
    headers = {"Allow": allowed_methods(request)} if code == "method_not_allowed" else error.headers
    return problem_response(code, detail, request.state.request_id, headers=headers)
