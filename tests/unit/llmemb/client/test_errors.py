"""Errors of the client: the tree in the docstring is the tree of classes, and each status has its own."""

import pickle
import re

import httpx2
import pytest

from llmemb import client
from llmemb.client import errors
from llmemb.client.errors import ApiError, ClientError, api_error

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ClientError)]
PROBLEM = {
    "type": "/problems/invalid_request",
    "title": "The request is invalid",
    "status": 422,
    "detail": "the body has 1 fault; see errors",
    "instance": "urn:uuid:7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f",
    "code": "invalid_request",
    "errors": [{"loc": ["body", "k"], "msg": "too great", "type": "too_great"}],
    "a_member_of_tomorrow": {"x": 1},
}


def test_docstring_draws_every_error_under_its_parent() -> None:
    """Each class once, indented under the one it derives from, and each can be imported from the package."""
    drawn = re.findall(r"^( *[│├└─ ]*)(\w+Error)\b", errors.__doc__, flags=re.MULTILINE)

    assert [name for _, name in drawn] == [cls.__name__ for cls in CLASSES]
    assert {name: len(indent) // 4 for indent, name in drawn} == {
        cls.__name__: len(cls.__mro__) - len(ClientError.__mro__) + 1 for cls in CLASSES
    }
    assert {name for _, name in drawn} <= set(client.__all__)


def test_problem_becomes_an_error_with_all_that_it_says() -> None:
    """Status, code, detail, faults, request id and Retry-After; unknown members are passed over."""
    headers = {"X-Request-Id": "7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f", "Retry-After": "3"}
    error = api_error(httpx2.Response(422, json=PROBLEM, headers=headers))

    assert str(error) == "422 invalid_request: the body has 1 fault; see errors"
    assert (error.status, error.code, error.detail) == (422, "invalid_request", "the body has 1 fault; see errors")
    assert [(fault.loc, fault.msg, fault.type) for fault in error.errors] == [(["body", "k"], "too great", "too_great")]
    assert error.request_id == "7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f"
    assert error.retry_after_seconds == 3


@pytest.mark.parametrize(
    ("status", "name"),
    [
        *((status, "BadRequestError") for status in (400, 405, 413, 415, 422, 418)),
        (401, "DeniedError"),
        (403, "DeniedError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (429, "BusyError"),
        (500, "ServiceFailedError"),
        (502, "ServiceFailedError"),
        (503, "UnavailableError"),
        (504, "UnavailableError"),
    ],
)
def test_status_decides_the_class(status: int, name: str) -> None:
    """Also where a proxy answered, by a page of its own."""
    error = api_error(httpx2.Response(status, text="<html>Bad Gateway</html>"))

    assert type(error).__name__ == name
    assert (error.code, error.errors, error.request_id) == ("unknown", (), None)


def test_error_crosses_processes() -> None:
    """Load clients send them home."""
    error = api_error(httpx2.Response(422, json=PROBLEM))
    copy = pickle.loads(pickle.dumps(error))

    assert isinstance(copy, ApiError)
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
