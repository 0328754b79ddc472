"""The OpenAPI description says who may call what, and how the guard refuses."""

from typing import Any

import pytest

from llmemb_service.http.openapi.description import describe
from tests.support.small_app import small_app


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return describe(small_app())


def test_operations_take_keys_where_there_are_any(description: dict[str, Any]) -> None:
    """By either header, or none; open ones ask for nothing."""
    paths = description["paths"]

    assert set(description["components"]["securitySchemes"]) == {"bearer", "api_key"}
    assert paths["/recommend"]["post"]["security"] == [{"bearer": []}, {"api_key": []}, {}]
    assert paths["/healthz"]["get"]["security"] == []


def test_refusals_are_described(description: dict[str, Any]) -> None:
    """Those that an operation can meet, with the headers that come along."""
    responses = description["paths"]["/recommend"]["post"]["responses"]

    assert {"401", "403", "408", "429"} <= set(responses)
    assert "Retry-After" in responses["429"]["headers"]
    assert "408" not in description["paths"]["/items/{item_id}"]["put"]["responses"]
    assert list(description["paths"]["/healthz"]["get"]["responses"]) == ["200"]
