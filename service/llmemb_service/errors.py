"""The errors of the running service.

    LlmembError
    ├── InvalidRequestError    the request is invalid; lists every fault with its location
    ├── UnknownEntriesError    an UnknownItemError with the locations of the ids in the body
    ├── UnauthorizedError      no API key, or an unknown one
    ├── ForbiddenError         the API key lacks the required role
    ├── ItemNotFoundError      the item in the path is not in the catalogue
    ├── SessionNotFoundError   the session in the path does not exist
    ├── ModelNotFoundError     /v1 has no model of this name
    ├── BundleNotFoundError    there is no such bundle, or no previous one
    ├── SwapRefusedError       the bundle cannot take over
    ├── CatalogueFullError     the catalogue has the maximum number of added items
    ├── RetryLaterError        the request may succeed after `retry_after_seconds`
    │   ├── RateLimitedError         the rate limit is exceeded
    │   ├── OverloadedError          a queue or the concurrency limit is full
    │   ├── EncoderUnavailableError  the encoder is starting or restarting
    │   └── StorageError             durable data cannot be written or read now
    ├── DeadlineError          the request timed out
    └── NotReadyError          a part of the service does not work

`service/llmemb_service/problems.py` maps them, and those of the core, to statuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmemb.errors import LlmembError, UnknownItemError


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request: its location, a message, and a type for programs."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class InvalidRequestError(LlmembError):
    """The request is invalid."""

    code = "invalid_request"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"the body has {len(faults)} fault{'s' if len(faults) > 1 else ''}; see errors")
        self.faults = tuple(faults)


class UnknownEntriesError(UnknownItemError):
    """Ids that are not in the catalogue, with their locations in the body."""

    def __init__(self, item_ids: Sequence[str], places: Sequence[tuple[str | int, ...]]) -> None:
        super().__init__(item_ids)
        self.faults = tuple(Fault(place, "the catalogue has no item with this id", self.code) for place in places)


class UnauthorizedError(LlmembError):
    """The request has no API key, or an unknown one."""

    code = "unauthorized"


class ForbiddenError(LlmembError):
    """The API key lacks the required role."""

    code = "forbidden"


class ItemNotFoundError(LlmembError):
    """The item in the path is not in the catalogue."""

    code = "item_not_found"

    def __init__(self, item_id: str) -> None:
        super().__init__(f"the catalogue has no item with the id {item_id!r}")


class SessionNotFoundError(LlmembError):
    """The session in the path does not exist."""

    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id!r} has no stored events")


class ModelNotFoundError(LlmembError):
    """`/v1` has no model of this name."""

    code = "model_not_found"

    def __init__(self, model: str, models: Sequence[str]) -> None:
        super().__init__(f"there is no model {model!r}; the models are {' and '.join(models)}")


class BundleNotFoundError(LlmembError):
    """There is no bundle with this name, or no previous bundle."""

    code = "bundle_not_found"


class SwapRefusedError(LlmembError):
    """The bundle cannot take over: another one is being loaded, or this one does not work."""

    code = "swap_refused"


class CatalogueFullError(LlmembError):
    """The catalogue has the maximum number of added items."""

    code = "catalogue_full"


class RetryLaterError(LlmembError):
    """The request may succeed after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(RetryLaterError):
    """The rate limit of an API key or an address is exceeded."""

    code = "rate_limited"


class OverloadedError(RetryLaterError):
    """A queue or the concurrency limit is full."""

    code = "overloaded"


class EncoderUnavailableError(RetryLaterError):
    """The encoder is starting or restarting; only requests that must embed text fail."""

    code = "encoder_unavailable"


class StorageError(RetryLaterError):
    """Durable data cannot be written or read now."""

    code = "storage"


class DeadlineError(LlmembError):
    """The request timed out."""

    code = "deadline"


class NotReadyError(LlmembError):
    """A part of the service does not work; `checks` says which, if it is known."""

    code = "not_ready"

    def __init__(self, message: str, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.checks = checks
