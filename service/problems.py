"""Every error of the service in one shape, RFC 9457 `application/problem+json`.

`PROBLEMS` is the one table from an error's code to its status and title; `docs/api.md` has a heading for each code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.responses import Response

from service.errors import Fault

CONTENT_TYPE = "application/problem+json"
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
    "not_found": ProblemKind(404, "There is nothing at this path"),
    "method_not_allowed": ProblemKind(405, "The path does not take this method"),
    "catalogue_full": ProblemKind(409, "No room for more added items"),
    "body_too_large": ProblemKind(413, "The body is too large"),
    "unsupported_media_type": ProblemKind(415, "The body must be JSON"),
    "invalid_request": ProblemKind(422, "The body's content cannot be used"),
    "unknown_item": ProblemKind(422, "The catalogue does not hold these items"),
    "overloaded": ProblemKind(429, "Too much work is waiting"),
    "internal": ProblemKind(500, "The service failed"),
    "not_ready": ProblemKind(503, "The service is not ready"),
    "storage": ProblemKind(503, "The items could not be stored"),
    "deadline": ProblemKind(504, "The answer took too long"),
}


class ProblemFault(BaseModel):
    """One fault of a body."""

    loc: list[str | int]
    """Where it stands, such as `["body", "items", 3, "id"]`."""
    msg: str
    type: str


class Problem(BaseModel):
    """An error, as RFC 9457 shapes it. A code may bring members of its own; `docs/api.md` names them."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    type: str
    """`/problems/` and the code."""
    title: str
    status: int
    detail: str
    """What is wrong with this request, in a sentence."""
    instance: str
    """`urn:uuid:` and the id of the request, which the answer's `X-Request-Id` and the log have too."""
    code: str
    """The kind of problem, for programs; it does not change."""
    errors: list[ProblemFault] | None = None
    """Every fault of the body, the first 100 of them; only where the body is at fault."""


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
    return Response(body, kind.status, dict(headers or {}), media_type=CONTENT_TYPE)


def _fault_member(fault: Fault) -> JsonValue:
    loc: list[JsonValue] = [part if isinstance(part, int) else part[:MAX_LOC_CHARACTERS] for part in fault.loc]
    return {"loc": loc, "msg": fault.msg, "type": fault.type}
