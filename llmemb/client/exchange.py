"""One call from its first attempt to its end, without input or output: a client sends and waits as this says."""

import uuid
from dataclasses import dataclass
from typing import Generic

import httpx2

from llmemb.client.calls import Answer, Call
from llmemb.client.errors import ConnectionFailedError, UnexpectedAnswerError, api_error
from llmemb.client.retrying import Attempts

TIMEOUT_SECONDS = 30.0
"""How long a client waits for a connection, and for each piece of an answer, unless the caller says otherwise."""


def headers_of(api_key: str | None) -> dict[str, str]:
    """The headers of a client's every request."""
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait, and send the call again."""

    seconds: float


class Exchange(Generic[Answer]):
    """The course of one call. Its attempts share one request id."""

    def __init__(self, call: Call[Answer], attempts: Attempts, request_id: uuid.UUID | None) -> None:
        self._call = call
        self._attempts = attempts
        self._request_id = request_id or uuid.uuid4()

    def request(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """Make the request of the next attempt, with the base URL and headers of `http`."""
        call = self._call
        headers = {"X-Request-Id": str(self._request_id)}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        timeout = httpx2.USE_CLIENT_DEFAULT if call.timeout_seconds is None else call.timeout_seconds
        return http.build_request(
            call.method, call.path, params=dict(call.params), content=call.body, headers=headers, timeout=timeout
        )

    def failed(self, error: httpx2.RequestError) -> Wait:
        """Take in that no answer came.

        Raises:
            ConnectionFailedError: the call is not to be sent again.
        """
        seconds = self._attempts.wait_after_failure(error)
        if seconds is None:
            reason = str(error) or type(error).__name__
            raise ConnectionFailedError(f"{self._name}: {reason} (request id {self._request_id})") from error
        return Wait(seconds)

    def answered(self, response: httpx2.Response) -> Answer | Wait:
        """Take in an answer.

        Raises:
            ApiError: it is a problem, and the call is not to be sent again.
            UnexpectedAnswerError: it is no answer of the service.
        """
        if response.status_code >= 400:
            problem = api_error(response)
            seconds = self._attempts.wait_after_problem(problem)
            if seconds is None:
                raise problem
            return Wait(seconds)
        if response.status_code >= 300:
            raise UnexpectedAnswerError(f"{self._name}: status {response.status_code}, a redirection")
        try:
            return self._call.read(response.content)
        except ValueError as error:
            raise UnexpectedAnswerError(f"{self._name}: the body is not what this route answers: {error}") from error

    @property
    def _name(self) -> str:
        return f"{self._call.method} {self._call.path}"
