"""A call of the service as data: what is sent, and how its answer is read. Nothing here does input or output."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar
from urllib.parse import quote

from llmemb.api.base import RequestBody

Answer = TypeVar("Answer")


class Repeat(Enum):
    """When a call that got no good answer may be sent again."""

    ALWAYS = "always"
    """Sent twice, it does what it does once."""
    IF_REFUSED = "if refused"
    """Only where the service has surely not begun: by 429, or for want of a connection."""
    NEVER = "never"
    """A failure is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Answer]):
    """One call; `llmemb.client.calls` has a maker for each route."""

    method: str
    path: str
    """Percent-encoded, from the service's root."""
    read: Callable[[bytes], Answer]
    """From the body of a good answer to what the caller gets; a `ValueError` where it cannot."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: bytes | None = None
    """JSON."""
    repeat: Repeat = Repeat.ALWAYS
    timeout_seconds: float | None = None
    """How long to wait for the answer; None: as long as the client's other calls."""


def path_of(*segments: str) -> str:
    """Join path segments, each percent-encoded, slashes within one too.

    Raises:
        ValueError: a segment is empty, or holds half of a surrogate pair.
    """
    return "".join(f"/{_encoded(segment)}" for segment in segments)


def _encoded(segment: str) -> str:
    if not segment:
        raise ValueError("an id must not be empty")
    # "." and ".." would be taken for places in the path.
    return segment.replace(".", "%2E") if segment in {".", ".."} else quote(segment, safe="")


def json_of(body: RequestBody) -> bytes:
    """Write a body as JSON, what has its default left out.

    Raises:
        ValueError: it holds a number that JSON has not, such as NaN.
    """
    members = body.model_dump(exclude_defaults=True)
    return json.dumps(members, allow_nan=False, separators=(",", ":")).encode()
