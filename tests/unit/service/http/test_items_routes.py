from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from llmemb.bundle import Bundle, read_bundle
from tests.support.service import HEAT, make_settings, running


@pytest.fixture(scope="module")
def bundle(full_bundle: Path) -> Bundle:
    return read_bundle(full_bundle)


@pytest.fixture(scope="module")
def client(full_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = make_settings(full_bundle, tmp_path_factory.mktemp("state"), max_k=50, max_value_characters=100)
    with running(settings) as client:
        yield client


def places(response: Any) -> list[list[str | int]]:
    """Where the faults of a refused request are."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return [fault["loc"] for fault in response.json()["errors"]]


def test_put_adds_an_item_and_then_replaces_it(client: TestClient, bundle: Bundle) -> None:
    """201 and 200; what is not said of categories and availability stays."""
    body = {"attributes": HEAT, "categories": ["Live", "Live", "New"], "available": False}
    first = client.put("/items/heat", json=body)
    second = client.put("/items/heat", json={"attributes": {"title": "Heat again"}})

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == {
        "id": "heat",
        "attributes": {"title": "Heat", "release_year": "1995", "genres": ["Action", "Crime"]},
        "categories": ["Live", "New"],
        "available": False,
        "source": "added",
        "bundle_id": bundle.manifest.id,
    }
    assert second.json() == first.json() | {"attributes": {"title": "Heat again"}}
    assert client.get("/items/heat").json() == second.json()


def test_item_of_the_bundle_has_the_categories_of_its_attributes(client: TestClient, bundle: Bundle) -> None:
    """And is available."""
    item = client.get("/items/2").json()

    assert item["categories"] == list(bundle.items.attributes(1)["genres"])
    assert (item["source"], item["available"]) == ("bundle", True)


@pytest.mark.parametrize("item_id", ["a/b", "/a//b/", "é ü", "100%", "?x=1#y", "a/similar", "%2F", " "])
def test_any_id_goes_in_a_path(client: TestClient, item_id: str) -> None:
    """Percent-encoded it is one segment, which no other route takes for its own."""
    path = f"/items/{quote(item_id, safe='')}"

    assert client.put(path, json={"attributes": {"title": "x"}}).json()["id"] == item_id
    assert client.get(path).json()["id"] == item_id
    assert client.patch(path, json={"available": False}).json()["available"] is False
    assert client.get(f"{path}/similar?k=1").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_patch_changes_what_filters_go_by(client: TestClient) -> None:
    """And nothing else."""
    before = client.get("/items/5").json()
    first = client.patch("/items/5", json={"categories": ["Mine"]})
    second = client.patch("/items/5", json={"available": False, "categories": None})

    assert first.json() == before | {"categories": ["Mine"]}
    assert second.json() == before | {"categories": ["Mine"], "available": False}
    assert all(item["id"] != "5" for item in client.get("/items/6/similar?k=50").json()["items"])
    client.patch("/items/5", json={"available": True})


@pytest.mark.parametrize("body", [{}, {"categories": None, "available": None}])
def test_empty_patch_is_refused(client: TestClient, body: dict[str, object]) -> None:
    """It says what it may hold."""
    response = client.patch("/items/5", json=body)

    assert places(response) == [["body"]]
    assert "categories" in response.json()["errors"][0]["msg"]


def test_delete_takes_an_item_out_and_put_brings_it_back(client: TestClient) -> None:
    """One of the bundle too."""
    attributes = client.get("/items/9").json()["attributes"]
    response = client.delete("/items/9")

    assert (response.status_code, response.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert client.request(method, "/items/9").json()["code"] == "item_not_found"
    assert client.patch("/items/9", json={"available": True}).json()["code"] == "item_not_found"
    assert client.get("/items/9/similar").json()["code"] == "item_not_found"
    assert client.put("/items/9", json={"attributes": attributes}).status_code == 201


def test_put_names_every_fault(client: TestClient) -> None:
    """With its place."""
    body = {"attributes": {"title": "x" * 101}}

    assert places(client.put(f"/items/{'x' * 257}", json=body)) == [
        ["path", "item_id"],
        ["body", "attributes", "title"],
    ]
    assert places(client.put("/items/x", json={"attributes": {}})) == [["body", "attributes"]]
    assert places(client.put("/items/x", json={"attributes": {"director": "x"}})) == [
        ["body", "attributes", "director"]
    ]
    half = b'{"attributes": {"title": "x"}, "categories": ["a", "\\ud800"]}'
    refused = client.put("/items/x", content=half, headers={"content-type": "application/json"})
    assert places(refused) == [["body", "categories", 1]]
    many = {"attributes": {"title": "x"}, "categories": ["x"] * 65}
    assert places(client.put("/items/x", json=many)) == [["body", "categories"]]


def test_embedded_items_go_into_the_catalogue_with_their_categories(client: TestClient, bundle: Bundle) -> None:
    """With `index` alone."""
    item = {"id": "many", "attributes": HEAT, "categories": ["Mine"], "available": False}
    dry = client.post("/embed_items", json={"items": [item]})
    assert client.get("/items/many").status_code == 404
    real = client.post("/embed_items", json={"items": [item], "index": True})

    assert dry.json()["embeddings"][0]["embedding"] == real.json()["embeddings"][0]["embedding"]
    assert len(real.json()["embeddings"][0]["embedding"]) == bundle.manifest.dim
    assert client.get("/items/many").json()["categories"] == ["Mine"]


def test_search_pages_through_the_matches(client: TestClient) -> None:
    """Each once, the last page without a cursor."""
    whole = client.get("/items", params={"query": "the", "limit": 50}).json()
    assert whole["next_cursor"] is None
    found, cursor = [], None
    while True:
        parameters = {"query": "the", "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/items", params=parameters).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert found == whole["items"]
    assert len(found) > 3
    assert all("the" in item["attributes"]["title"].lower() for item in found)


def test_list_has_every_item_in_order(client: TestClient, bundle: Bundle) -> None:
    """Blanks are no query."""
    plain = client.get("/items", params={"limit": 30}).json()
    blank = client.get("/items", params={"limit": 30, "query": "  "}).json()

    own = [item["id"] for item in plain["items"]]
    assert own == [item_id for item_id in bundle.items.ids if item_id in own]
    assert blank["items"] == plain["items"]


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "LafExxFG5WMTWzAuMCwgMV0"}, "cursor"),
        ({"limit": 51}, "limit"),
        ({"limit": 0}, "limit"),
        ({"query": "x" * 257}, "query"),
    ],
)
def test_list_names_the_parameter_at_fault(client: TestClient, parameters: dict[str, Any], place: str) -> None:
    """A cursor of another list too."""
    assert places(client.get("/items", params=parameters)) == [["query", place]]


def test_similar_items_are_the_nearest_by_cosine(client: TestClient, bundle: Bundle) -> None:
    """The most similar first, and never the item itself."""
    items = client.get("/items/3/similar?k=4").json()["items"]
    embeddings = dict(zip(bundle.items.ids, bundle.item_embeddings, strict=True))

    assert [item["similarity"] for item in items] == sorted((item["similarity"] for item in items), reverse=True)
    assert len(items) == 4
    for item in items:
        assert item["id"] != "3"
        if item["id"] in embeddings:
            assert item["similarity"] == pytest.approx(float(embeddings["3"] @ embeddings[item["id"]]), abs=1e-4)
    assert places(client.get("/items/3/similar?k=51")) == [["query", "k"]]


def test_full_catalogue_refuses_new_items(full_bundle: Path, tmp_path: Path) -> None:
    """And says so."""
    with running(make_settings(full_bundle, tmp_path, max_added_items=1)) as client:
        assert client.put("/items/a", json={"attributes": HEAT}).status_code == 201
        refused = client.put("/items/b", json={"attributes": HEAT})

    assert (refused.status_code, refused.json()["code"]) == (409, "catalogue_full")
