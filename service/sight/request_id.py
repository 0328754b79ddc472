"""The id of the request that is being answered, for whoever logs on its behalf."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def request_id_of(request_id: str) -> Iterator[None]:
    """Let `current_request_id` return `request_id` in this block and in the tasks and threads that it starts."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def current_request_id() -> str | None:
    """Return the request's id; None outside of a request."""
    return _request_id.get()
