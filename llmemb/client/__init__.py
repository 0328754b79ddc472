"""The client of the service: `Client` and `AsyncClient`, typed, with retries that honour `Retry-After`.

It needs `pip install llmemb` and none of the core's numeric libraries. `docs/client.md` shows its use.
"""

from llmemb.client.async_client import AsyncClient
from llmemb.client.errors import (
    ApiError,
    BadRequestError,
    BusyError,
    ClientError,
    ConflictError,
    ConnectionFailedError,
    DeniedError,
    NotFoundError,
    ServiceFailedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from llmemb.client.retrying import NO_RETRIES, Retrying
from llmemb.client.sync_client import Client

__all__ = [
    "NO_RETRIES",
    "ApiError",
    "AsyncClient",
    "BadRequestError",
    "BusyError",
    "Client",
    "ClientError",
    "ConflictError",
    "ConnectionFailedError",
    "DeniedError",
    "NotFoundError",
    "Retrying",
    "ServiceFailedError",
    "UnavailableError",
    "UnexpectedAnswerError",
]
