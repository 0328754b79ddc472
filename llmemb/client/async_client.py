"""The client for programs that await their answers."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import httpx2

from llmemb.api.items import ListedItem
from llmemb.client import calls
from llmemb.client.calls import Answer, Call
from llmemb.client.exchange import TIMEOUT_SECONDS, Exchange, Wait, headers_of
from llmemb.client.methods import AsyncSender, Methods
from llmemb.client.retrying import DEFAULT_RETRYING, Retrier, Retrying


class AsyncClient(Methods, AsyncSender):
    """Calls the service from an event loop; tasks of one loop may share one, and its connections.

    Takes the same arguments as `Client`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retrying: Retrying = DEFAULT_RETRYING,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=base_url, headers=headers_of(api_key), timeout=timeout_seconds, transport=transport
        )
        self._retrier = Retrier(retrying, clock)
        self._sleep = sleep

    async def send(self, call: Call[Answer], *, request_id: uuid.UUID | None = None) -> Answer:
        """Do what `Client.send` does.

        Raises:
            ApiError: the service answered with a problem.
            ConnectionFailedError: no answer came.
            UnexpectedAnswerError: the answer is not the service's.
        """
        exchange = Exchange(call, self._retrier.attempts(call.repeat), request_id)
        while True:
            try:
                response = await self._http.send(exchange.request(self._http))
            except httpx2.RequestError as error:
                outcome: Answer | Wait = exchange.failed(error)
            else:
                outcome = exchange.answered(response)
            if not isinstance(outcome, Wait):
                return outcome
            await self._sleep(outcome.seconds)

    async def list_items(self, query: str | None = None, *, page_size: int | None = None) -> AsyncIterator[ListedItem]:
        """Iterate over all items of the catalogue, or over those that a full-text search finds, page by page."""
        cursor: str | None = None
        while True:
            page = await self.send(calls.item_page(query=query, limit=page_size, cursor=cursor))
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
