"""The OpenAPI description is whole, true, and shown without another host."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.problems import CONTENT_TYPE, PROBLEMS
from service.schemas import EMBED_EXAMPLES, HEAT, RECOMMEND_EXAMPLES
from tests.support.service import make_settings, running

API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that holds the films of MovieLens which the examples name."""
    with running(make_settings(tiny_bundle, tmp_path_factory.mktemp("openapi") / "state")) as client:
        films = [{"id": item_id, "attributes": HEAT} for item_id in ("50", "172")]
        assert client.post("/embed_items", json={"items": films, "index": True}).status_code == 200
        yield client


@pytest.fixture(scope="module")
def description(client: TestClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").json()
    return answer


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_openapi_has_every_route(description: dict[str, Any]) -> None:
    """A frozen list: a route is added on purpose."""
    assert {(path, *methods) for path, methods in description["paths"].items()} == {
        ("/embed_items", "post"),
        ("/recommend", "post"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/info", "get"),
        ("/metrics", "get"),
    }


def test_openapi_has_no_dangling_reference(description: dict[str, Any]) -> None:
    """Every $ref leads somewhere."""
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(description)))

    assert references
    for reference in references:
        target: Any = description
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_openapi_names_errors_as_problems_alone(description: dict[str, Any]) -> None:
    """No answer over 399 is said to be application/json, and each status has the codes of our table."""
    for path, operation in operations(description):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == [CONTENT_TYPE], path
                examples = response["content"][CONTENT_TYPE]["examples"]
                assert all(PROBLEMS[code].status == int(status) for code in examples)
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_openapi_operations_have_names_of_their_own(description: dict[str, Any]) -> None:
    """A client generator makes functions of them."""
    names = [operation["operationId"] for _, operation in operations(description)]

    assert sorted(names) == ["embed_items", "healthz", "info", "metrics", "readyz", "recommend"]


@pytest.mark.parametrize(
    ("path", "name"),
    [*(("/embed_items", name) for name in EMBED_EXAMPLES), *(("/recommend", name) for name in RECOMMEND_EXAMPLES)],
)
def test_openapi_examples_work(client: TestClient, description: dict[str, Any], path: str, name: str) -> None:
    """Sent as they stand, they are answered."""
    content = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    response = client.post(path, json=content["examples"][name]["value"])

    assert response.status_code == 200, response.text


def test_answers_have_the_members_that_openapi_says(client: TestClient, description: dict[str, Any]) -> None:
    """All of them and no others."""
    answers = {
        "EmbedItemsResponse": client.post("/embed_items", json=EMBED_EXAMPLES["embed"]["value"]),
        "RecommendResponse": client.post("/recommend", json=RECOMMEND_EXAMPLES["ids"]["value"]),
        "HealthResponse": client.get("/healthz"),
        "ReadyResponse": client.get("/readyz"),
        "InfoResponse": client.get("/info"),
    }

    for model, answer in answers.items():
        assert set(answer.json()) == set(description["components"]["schemas"][model]["properties"])


def test_docs_ask_no_other_host(client: TestClient) -> None:
    """Every file of the page comes from this service, and is there."""
    page = client.get("/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(links) == 3
    assert "//" not in "".join(links)
    assert all(client.get(link).status_code == 200 for link in links)
    assert '"validatorUrl": null' in page


def test_api_page_has_every_route(description: dict[str, Any]) -> None:
    """docs/api.md has a heading for each."""
    page = API_PAGE.read_text(encoding="utf-8")

    for path, methods in description["paths"].items():
        for method in methods:
            assert f"\n## {method.upper()} {path}\n" in page


def test_api_page_bodies_work(client: TestClient) -> None:
    """Every body that the page sends by curl is answered as the page says: all but one are fine."""
    page = API_PAGE.read_text(encoding="utf-8")
    calls = re.findall(r"curl -s http://127\.0\.0\.1:8000(/\w+) .*?-d '(.*?)'", page, flags=re.DOTALL)
    statuses = [client.post(path, json=json.loads(body)).status_code for path, body in calls]

    assert statuses == [200, 200, 200, 200, 200, 422]
