"""What a call can end with instead of its answer.

    ClientError                no good answer
    ├── ConnectionFailedError      none at all: no connection, a broken one, or too long a wait
    ├── UnexpectedAnswerError      one that is not the service's
    └── ApiError                   a problem, as the service tells it
        ├── BadRequestError            400, 405, 413, 415, 422: the request is at fault
        ├── DeniedError                401, 403: the API key is missing, wrong, or does not go that far
        ├── NotFoundError              404: no such item, session, bundle or path
        ├── ConflictError              409: what is there does not allow it
        ├── BusyError                  429: the service or the key has too much to do
        ├── UnavailableError           503, 504: a part of the service does not work or is too slow
        └── ServiceFailedError         any other status from 500

They are no `LlmembError`: those are the program's own, and the service answers its callers by them.
"""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx2
from pydantic import ValidationError

from llmemb.api.base import Problem, ProblemFault


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to be left alone, at least 0; None where it does not say so.

    A date is compared with the answer's own `Date`, so that the two clocks need not agree.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    until = _timestamp(value)
    if until is None:
        return None
    now = _timestamp(headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _timestamp(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # HTTP dates are in UTC, whether or not they say it in a way that Python reads.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class ClientError(Exception):
    """A call that got no good answer."""


class ConnectionFailedError(ClientError):
    """No answer came: there was no connection, it broke, or the wait was too long."""


class UnexpectedAnswerError(ClientError):
    """An answer that is not the service's; something else may listen at the address."""


class ApiError(ClientError):
    """A problem, as the service tells it.

    `code` names the kind of problem and does not change; it is `unknown` where a proxy answered. `errors` has the
    place of each fault where the request is at fault. `request_id` is in the service's log. `retry_after_seconds` is
    how long the service asks to be left alone.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[ProblemFault],
        request_id: str | None,
        retry_after_seconds: float | None,
    ) -> None:
        # All of them, so that the error can be pickled and sent from one process to another.
        super().__init__(status, code, detail, errors, request_id, retry_after_seconds)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


class BadRequestError(ApiError):
    """The request is at fault."""


class DeniedError(ApiError):
    """The API key is missing, wrong, or its roles do not go that far."""


class NotFoundError(ApiError):
    """No such item, session, bundle or path."""


class ConflictError(ApiError):
    """What is there does not allow it."""


class BusyError(ApiError):
    """The service, or the API key, has too much to do."""


class UnavailableError(ApiError):
    """A part of the service does not work now, or is too slow."""


class ServiceFailedError(ApiError):
    """The service failed."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: DeniedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: BusyError,
    503: UnavailableError,
    504: UnavailableError,
}


def api_error(response: httpx2.Response) -> ApiError:
    """Make the error of an answer with a status from 400."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        problem = None  # a proxy's own page
    otherwise = ServiceFailedError if response.status_code >= 500 else BadRequestError
    return _BY_STATUS.get(response.status_code, otherwise)(
        status=response.status_code,
        code=problem.code if problem else "unknown",
        detail=problem.detail if problem else "the answer is no problem of the service",
        errors=(problem.errors or ()) if problem else (),
        request_id=response.headers.get("X-Request-Id"),
        retry_after_seconds=retry_after_seconds(response.headers),
    )
