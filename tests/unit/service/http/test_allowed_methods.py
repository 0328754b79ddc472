"""`Allow` of a 405 has all methods of the path."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from llmemb_service.app import create_app
from llmemb_service.settings import Settings


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/recommend", "POST"),
        ("OPTIONS", "/items/a%2Fb", "DELETE, GET, PATCH, PUT"),
        ("POST", "/admin/experiment", "DELETE, PUT"),
        ("PUT", "/sessions/s", "DELETE, GET"),
        ("DELETE", "/docs", "GET"),
        ("POST", "/docs/assets/favicon-32x32.png", "GET, HEAD"),
    ],
)
def test_refusal_of_a_method_names_those_allowed(method: str, path: str, allowed: str) -> None:
    """RFC 9110 asks for all of them, though each is a route of its own."""
    response = TestClient(create_app(Settings(bundle=Path()))).request(method, path)

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
