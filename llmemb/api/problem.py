"""Errors, as RFC 9457 shapes them."""

from pydantic import BaseModel, ConfigDict

CONTENT_TYPE = "application/problem+json"


class ProblemFault(BaseModel):
    """One fault of a request."""

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
    """Every fault of the request, the first 100 of them; only where the request is at fault."""
