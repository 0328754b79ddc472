"""The OpenAPI description is whole, true, frozen, and shown without another host."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmemb_service.app import create_app
from llmemb_service.guard.access import UNLIMITED_PATHS
from llmemb_service.http.openapi.examples import HEAT
from llmemb_service.problems import CONTENT_TYPE, PROBLEMS
from llmemb_service.settings import Settings
from tests.support.service import make_settings, running

FILE = Path(__file__).parents[2] / "openapi.json"
DESCRIPTION: dict[str, Any] = create_app(Settings(bundle=Path())).openapi()
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
}
"""Method, path and operation by operation id."""
EXAMPLES = [
    (name, example)
    for name, (_, _, operation) in OPERATIONS.items()
    for example in operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", ())
]


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that holds the films of MovieLens which the examples name."""
    with running(make_settings(tiny_bundle, tmp_path_factory.mktemp("openapi") / "state")) as client:
        films = [{"id": item_id, "attributes": HEAT} for item_id in ("50", "172")]
        assert client.post("/embed_items", json={"items": films, "index": True}).status_code == 200
        yield client


def test_description_is_the_file_in_the_repository(client: TestClient) -> None:
    """A change of the API is made on purpose: `make docs` writes the file."""
    served = client.get("/openapi.json").json()

    assert json.dumps(served, indent=2, ensure_ascii=False) + "\n" == FILE.read_text(encoding="utf-8")


def test_openapi_has_no_dangling_reference() -> None:
    """Every $ref leads somewhere."""
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(DESCRIPTION)))

    assert references
    for reference in references:
        target: Any = DESCRIPTION
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_openapi_names_errors_as_problems_alone() -> None:
    """No answer over 399 is said to be application/json, and each status has the codes of our table."""
    for _, path, operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == [CONTENT_TYPE], path
                examples = response["content"][CONTENT_TYPE]["examples"]
                assert all(PROBLEMS[code].status == int(status) for code in examples)
    assert "HTTPValidationError" not in DESCRIPTION["components"]["schemas"]


def test_openapi_says_how_to_come_back() -> None:
    """Where a problem has Retry-After, the description has."""
    for _, path, operation in OPERATIONS.values():
        for status in {"429"} & operation["responses"].keys():
            assert "Retry-After" in operation["responses"][status]["headers"], path


def test_openapi_says_what_is_left_of_the_rate_limit() -> None:
    """Successes and 429 have the three headers; probes, which are not counted, have none."""
    expected = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
    for _, path, operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            is_counted = path not in UNLIMITED_PATHS and (status < "300" or status == "429")
            assert response.get("headers", {}).keys() & expected == (expected if is_counted else set()), path


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_fit_for_a_client_generator(name: str) -> None:
    """A short name of its own for a function, a summary and a description for its help, a tag for its module."""
    _, path, operation = OPERATIONS[name]

    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert len(name) <= 20
    assert operation["summary"], path
    assert operation["description"], path
    assert operation["tags"] == [
        tag for tag in operation["tags"] if tag in {each["name"] for each in DESCRIPTION["tags"]}
    ]
    assert len(operation["tags"]) == 1


def test_operations_are_unique() -> None:
    """One name, one operation."""
    assert len(OPERATIONS) == sum(len(methods) for methods in DESCRIPTION["paths"].values())


def test_every_member_of_a_body_is_explained_or_plain() -> None:
    """No schema is without a type, and every schema says what it is."""
    for name, schema in DESCRIPTION["components"]["schemas"].items():
        assert schema.get("description") or name == "JsonValue", name  # of pydantic
        for member, content in schema.get("properties", {}).items():
            assert content.keys() & {"type", "anyOf", "oneOf", "$ref", "const", "enum"}, f"{name}.{member}"


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_openapi_examples_work(client: TestClient, name: str, example: str) -> None:
    """Sent as they stand, they are answered."""
    method, path, operation = OPERATIONS[name]
    body = operation["requestBody"]["content"]["application/json"]["examples"][example]["value"]
    response = client.request(method, path.format(item_id="50", session_id="visit-1"), json=body)

    assert response.status_code == 200, response.text


def test_answers_have_the_members_that_openapi_says(client: TestClient) -> None:
    """All of them and no others."""
    assert client.post("/sessions/s/events", json={"events": [{"item_id": "50"}]}).status_code == 200
    answers = {
        "EmbedItemsResponse": client.post("/embed_items", json={"items": [{"id": "x", "attributes": HEAT}]}),
        "RecommendResponse": client.post("/recommend", json={"history": ["50"]}),
        "RecommendBatchResponse": client.post("/recommend/batch", json={"requests": [{"history": ["50"]}]}),
        "SessionResponse": client.get("/sessions/s"),
        "ItemResponse": client.get("/items/50"),
        "ItemListResponse": client.get("/items"),
        "SimilarItemsResponse": client.get("/items/50/similar"),
        "MapResponse": client.get("/map"),
        "EmbeddingsResponse": client.post("/v1/embeddings", json={"input": "x", "model": "llmemb-raw"}),
        "ModelsResponse": client.get("/v1/models"),
        "BundlesResponse": client.get("/admin/bundles"),
        "HealthResponse": client.get("/healthz"),
        "ReadyResponse": client.get("/readyz"),
        "InfoResponse": client.get("/info"),
    }

    for model, answer in answers.items():
        assert set(answer.json()) == set(DESCRIPTION["components"]["schemas"][model]["properties"]), model


def test_docs_ask_no_other_host(client: TestClient) -> None:
    """Every file of the page comes from this service, and is there."""
    page = client.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(links) == 3
    assert "//" not in "".join(links)
    assert all(client.get(link).status_code == 200 for link in links)
    assert '"validatorUrl": null' in page
