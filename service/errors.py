"""The errors that only a running service meets.

    LlmembError
    ├── InvalidRequestError    a body whose content cannot be used; says every fault and its place
    ├── OverloadedError        the embedding queue is full
    ├── DeadlineError          the embedding took too long
    ├── NotReadyError          a part of the service does not work
    ├── CatalogueFullError     no room for more added items
    └── StorageError           the added items cannot be put on disk

`service/problems.py` maps them, and those of the core, to statuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmemb.errors import LlmembError


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


class OverloadedError(LlmembError):
    """The embedding queue is full; `retry_after_seconds` is when there should be room again."""

    code = "overloaded"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"the embedding queue is full; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class DeadlineError(LlmembError):
    """The embedding was not done in time."""

    code = "deadline"


class NotReadyError(LlmembError):
    """A part of the service does not work; `checks` says which, where it is known."""

    code = "not_ready"

    def __init__(self, message: str, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.checks = checks


class CatalogueFullError(LlmembError):
    """The catalogue holds as many added items as it may."""

    code = "catalogue_full"


class StorageError(LlmembError):
    """The added items cannot be put on disk."""

    code = "storage"
