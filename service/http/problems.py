"""Every error of the service in one shape, RFC 9457 `application/problem+json`.

`PROBLEMS` is the one table from an error's code to its status and title; `docs/api.md` has a heading for each code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmemb.api.problem import CONTENT_TYPE
from service.errors import Fault

MAX_FAULTS = 100
"""Faults that one answer lists; a body of thousands of bad items gets no answer of its own size."""
MAX_LOC_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What all problems of one code share. Titles are ours: Python's change with its version."""

    status: int
    title: str


PROBLEMS: dict[str, ProblemKind] = {
    "invalid_json": ProblemKind(400, "The body is not valid JSON"),
    "unauthorized": ProblemKind(401, "An API key is needed"),
    "forbidden": ProblemKind(403, "The API key does not allow this"),
    "not_found": ProblemKind(404, "There is nothing at this path"),
    "item_not_found": ProblemKind(404, "The catalogue does not hold this item"),
    "session_not_found": ProblemKind(404, "The session is not kept"),
    "bundle_not_found": ProblemKind(404, "There is no such bundle"),
    "method_not_allowed": ProblemKind(405, "The path does not take this method"),
    "body_timeout": ProblemKind(408, "The body did not come in time"),
    "catalogue_full": ProblemKind(409, "No room for more added items"),
    "swap_refused": ProblemKind(409, "The bundle cannot take over"),
    "body_too_large": ProblemKind(413, "The body is too large"),
    "unsupported_media_type": ProblemKind(415, "The body must be JSON"),
    "invalid_request": ProblemKind(422, "The body's content cannot be used"),
    "unknown_item": ProblemKind(422, "The catalogue does not hold these items"),
    "overloaded": ProblemKind(429, "Too much work is waiting"),
    "rate_limited": ProblemKind(429, "Too many requests"),
    "internal": ProblemKind(500, "The service failed"),
    "not_ready": ProblemKind(503, "The service is not ready"),
    "encoder_unavailable": ProblemKind(503, "The encoder does not run now"),
    "storage": ProblemKind(503, "What is stored cannot be reached now"),
    "deadline": ProblemKind(504, "The answer took too long"),
}


class ProblemResponse(Response):
    """An answer that is a problem, and tells `service/http/request_middleware.py` which."""

    media_type = CONTENT_TYPE

    def __init__(self, body: bytes, code: str, headers: Mapping[str, str]) -> None:
        super().__init__(body, PROBLEMS[code].status, dict(headers))
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI has it."""
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
        detail: what is wrong with this request; never an exception's text that the client has no business with.
        request_id: a UUID.
        faults: every fault of the body; at most 100 are listed.
        members: further members of this code.
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
    # Names from the body may hold half a surrogate pair, which no UTF-8 answer can: such become "?".
    body = json.dumps(content | dict(members or {}), ensure_ascii=False).encode("utf-8", "replace")
    return ProblemResponse(body, code, headers or {})


def _fault_member(fault: Fault) -> JsonValue:
    loc: list[JsonValue] = [part if isinstance(part, int) else part[:MAX_LOC_CHARACTERS] for part in fault.loc]
    return {"loc": loc, "msg": fault.msg, "type": fault.type}
