"""The client for programs that wait for their answers."""

import time
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import httpx2

from llmemb.api.items import ListedItem
from llmemb.client import calls
from llmemb.client.calls import Answer, Call
from llmemb.client.exchange import TIMEOUT_SECONDS, Exchange, Wait, headers_of
from llmemb.client.methods import Methods, Sender
from llmemb.client.retrying import DEFAULT_RETRYING, Retrier, Retrying


class Client(Methods, Sender):
    """Calls the service; threads may share one, and its connections.

    Args:
        base_url: where the service is, such as `http://127.0.0.1:8000`.
        api_key: one of the service's keys, where it asks for one.
        timeout_seconds: for a connection, and for each piece of an answer.
        retrying: how it goes on after a failure that may pass.
        transport: what carries the requests; for tests.
        sleep: waits so many seconds; for tests.
        clock: seconds that only grow; for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retrying: Retrying = DEFAULT_RETRYING,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx2.Client(
            base_url=base_url, headers=headers_of(api_key), timeout=timeout_seconds, transport=transport
        )
        self._retrier = Retrier(retrying, clock)
        self._sleep = sleep

    def send(self, call: Call[Answer], *, request_id: uuid.UUID | None = None) -> Answer:
        """Send a call, again where that may help, and return its answer.

        Args:
            call: made by `llmemb.client.calls`.
            request_id: the id that the service's log and answers have; a fresh one by default.

        Raises:
            ApiError: the service answered with a problem.
            ConnectionFailedError: no answer came.
            UnexpectedAnswerError: the answer is not the service's.
        """
        exchange = Exchange(call, self._retrier.attempts(call.repeat), request_id)
        while True:
            try:
                response = self._http.send(exchange.request(self._http))
            except httpx2.RequestError as error:
                outcome: Answer | Wait = exchange.failed(error)
            else:
                outcome = exchange.answered(response)
            if not isinstance(outcome, Wait):
                return outcome
            self._sleep(outcome.seconds)

    def list_items(self, query: str | None = None, *, page_size: int | None = None) -> Iterator[ListedItem]:
        """Iterate over all items of the catalogue, or over those that a full-text search finds, page by page."""
        cursor: str | None = None
        while True:
            page = self.send(calls.item_page(query=query, limit=page_size, cursor=cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
