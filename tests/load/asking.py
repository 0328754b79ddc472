"""Sends steps with the client as it is shipped, and tells what became of each."""

import time
from collections.abc import Callable

import httpx2

from llmemb.client import NO_RETRIES, ApiError, Client, ClientError
from tests.load.measurement import Measurement, outcome_of, parts_of
from tests.load.routes import route_of
from tests.load.steps import Refused, Reply, Step

TIMEOUT_SECONDS = 60.0
"""For an answer: longer than the service's own deadlines, so that it is the service that gives up."""
_LEAST_WAIT_SECONDS = 1.0
"""After a refusal that does not say how long."""


class _Remembering(httpx2.BaseTransport):
    """Keeps the headers of the last answer, which the client does not pass on."""

    def __init__(self) -> None:
        # No certificates to load: a load goes over plain HTTP.
        self._inner = httpx2.HTTPTransport(verify=False)
        self.headers = httpx2.Headers()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.headers = httpx2.Headers()
        response = self._inner.handle_request(request)
        self.headers = response.headers
        return response

    def close(self) -> None:
        self._inner.close()


class Asker:
    """One person's client, for one request at a time; each is sent once, so that what fails is seen.

    Args:
        url: of the service.
        api_key: where it asks for one.
        tell: takes what became of each request.
    """

    def __init__(self, url: str, api_key: str | None, tell: Callable[[Measurement], object]) -> None:
        self._transport = _Remembering()
        self._client = Client(
            url, api_key=api_key, timeout_seconds=TIMEOUT_SECONDS, retrying=NO_RETRIES, transport=self._transport
        )
        self._tell = tell

    def ask(self, step: Step) -> Reply:
        """Send a step's call; the time runs from here to the answer as the caller gets it."""
        reply: Reply = None
        error: ClientError | None = None
        began = time.perf_counter()
        try:
            reply = self._client.send(step.call)
        except ClientError as failed:
            error = failed
        seconds = time.perf_counter() - began
        outcome, reason = outcome_of(error, may_be_gone=step.may_be_gone)
        headers = self._transport.headers
        self._tell(
            Measurement(
                route=route_of(step.call),
                outcome=outcome,
                seconds=seconds,
                reason=reason,
                retry_after="Retry-After" in headers,
                parts_ms=parts_of(headers.get("Server-Timing", "")),
            )
        )
        if outcome != "refused":
            return reply
        assert isinstance(error, ApiError)
        return Refused(error.retry_after_seconds or _LEAST_WAIT_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
