"""The errors that only a running service meets.

    LlmembError
    ├── InvalidRequestError    a body whose content cannot be used; says every fault and its place
    ├── UnknownEntriesError    an UnknownItemError that says where the ids stand in the body
    ├── UnauthorizedError      no API key, or none of ours
    ├── ForbiddenError         the API key's roles do not go that far
    ├── ItemNotFoundError      the path names an item that the catalogue does not hold
    ├── SessionNotFoundError   the path names a session that is not kept
    ├── BundleNotFoundError    there is no such bundle, or none to go back to
    ├── SwapRefusedError       the bundle cannot take over
    ├── CatalogueFullError     no room for more added items
    ├── RetryLaterError        what may work in `retry_after_seconds`
    │   ├── RateLimitedError         the API key asks too often
    │   ├── OverloadedError          a queue is full
    │   ├── EncoderUnavailableError  the encoder starts, or starts again
    │   └── StorageError             what must be durable cannot be written or read now
    ├── DeadlineError          the answer took too long
    └── NotReadyError          a part of the service does not work

`service/problems.py` maps them, and those of the core, to statuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmemb.errors import LlmembError, UnknownItemError


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a body: where it stands, what is wrong, and the kind of fault, for programs."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class InvalidRequestError(LlmembError):
    """A body whose content cannot be used."""

    code = "invalid_request"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"the body has {len(faults)} fault{'s' if len(faults) > 1 else ''}; see errors")
        self.faults = tuple(faults)


class UnknownEntriesError(UnknownItemError):
    """Ids that the catalogue does not hold, and where they stand in the body."""

    def __init__(self, item_ids: Sequence[str], places: Sequence[tuple[str | int, ...]]) -> None:
        super().__init__(item_ids)
        self.faults = tuple(Fault(place, "the catalogue holds no item with this id", self.code) for place in places)


class UnauthorizedError(LlmembError):
    """The request brings no API key, or none of ours."""

    code = "unauthorized"


class ForbiddenError(LlmembError):
    """The API key's roles do not go that far."""

    code = "forbidden"


class ItemNotFoundError(LlmembError):
    """The path names an item that the catalogue does not hold."""

    code = "item_not_found"

    def __init__(self, item_id: str) -> None:
        super().__init__(f"the catalogue holds no item with the id {item_id!r}")


class SessionNotFoundError(LlmembError):
    """The path names a session that is not kept."""

    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"no events are kept for the session {session_id!r}")


class BundleNotFoundError(LlmembError):
    """There is no bundle of that name, or none to go back to."""

    code = "bundle_not_found"


class SwapRefusedError(LlmembError):
    """The bundle cannot take over: another one is being loaded, or it does not answer as it should."""

    code = "swap_refused"


class CatalogueFullError(LlmembError):
    """The catalogue holds as many added items as it may."""

    code = "catalogue_full"


class RetryLaterError(LlmembError):
    """What may work in `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(RetryLaterError):
    """The API key asks too often."""

    code = "rate_limited"


class OverloadedError(RetryLaterError):
    """A queue is full."""

    code = "overloaded"


class EncoderUnavailableError(RetryLaterError):
    """The encoder starts, or starts again; only what must be embedded waits for it."""

    code = "encoder_unavailable"


class StorageError(RetryLaterError):
    """What must be durable cannot be written or read now."""

    code = "storage"


class DeadlineError(LlmembError):
    """The answer was not ready in time."""

    code = "deadline"


class NotReadyError(LlmembError):
    """A part of the service does not work; `checks` says which, where it is known."""

    code = "not_ready"

    def __init__(self, message: str, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.checks = checks
