"""`GET /map`: the position of every item, added ones too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from llmemb.api.items import MapResponse
from llmemb.bundle import Bundle, read_bundle
from tests.support.service import HEAT, make_settings, running


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(make_settings(tiny_bundle, tmp_path_factory.mktemp("map") / "state")) as client:
        yield client


def drawn(client: TestClient, **params: int) -> dict[str, Any]:
    """The answer, which its model takes; columns by their names."""
    response = client.get("/map", params=params)
    return MapResponse.model_validate_json(response.content, strict=True).model_dump()


def test_positions_are_those_that_the_bundle_stores(client: TestClient, tiny_bundle: Path) -> None:
    """In the order of the catalogue, with popularity and first category."""
    bundle = read_bundle(tiny_bundle)
    answer = drawn(client)
    categories = [answer["categories"][number] for number in answer["category"]]

    assert answer["ids"] == list(bundle.items.ids)
    assert answer["popularity"] == bundle.items.popularity.tolist()
    assert categories == [bundle.items.attributes(row)["genres"][0] for row in range(40)]
    places = np.stack([answer["x"], answer["y"]], axis=1)
    np.testing.assert_allclose(places, bundle.map_positions, atol=1e-4)


def test_map_follows_the_catalogue(client: TestClient, tiny_bundle: Path) -> None:
    """An added item is at the median position of the ten nearest items of the bundle; a removed item is not shown."""
    bundle = read_bundle(tiny_bundle)
    embedded = client.post("/embed_items", json={"items": [{"id": "map/é", "attributes": HEAT}]}).json()
    before = drawn(client)
    client.put("/items/map%2F%C3%A9", json={"attributes": HEAT, "categories": []})
    there = drawn(client)
    client.delete("/items/map%2F%C3%A9")

    place = near(bundle, embedded["embeddings"][0]["embedding"])
    assert there["total"] == 41
    assert (there["ids"][-1], there["category"][-1], there["popularity"][-1]) == ("map/é", -1, 0)
    np.testing.assert_allclose([there["x"][-1], there["y"][-1]], place, atol=1e-4)
    assert drawn(client) == before


def test_item_with_other_attributes_moves_to_its_neighbours(tiny_bundle: Path, tmp_path: Path) -> None:
    """The stored position is that of the bundle's attributes: an item that is replaced is placed like an added one."""
    bundle = read_bundle(tiny_bundle)
    with running(make_settings(tiny_bundle, tmp_path / "state")) as client:
        embedded = client.post("/embed_items", json={"items": [{"id": "7", "attributes": HEAT}]}).json()
        client.put("/items/7", json={"attributes": HEAT})
        answer = drawn(client)

    row, before = answer["ids"].index("7"), bundle.map_positions[bundle.items.rows["7"]]
    position = [answer["x"][row], answer["y"][row]]
    np.testing.assert_allclose(position, near(bundle, embedded["embeddings"][0]["embedding"]), atol=1e-4)
    assert np.abs(position - before).max() > 0.01


def near(bundle: Bundle, embedding: list[float]) -> NDArray[np.float32]:
    """The median position of the ten items of the bundle with the highest cosines."""
    units = bundle.item_embeddings / np.linalg.norm(bundle.item_embeddings, axis=1, keepdims=True)
    nearest = np.argsort(-(units @ np.array(embedding)))[:10]
    return np.median(bundle.map_positions[nearest], axis=0)


def test_fewer_points_are_spread_over_the_catalogue(client: TestClient) -> None:
    """`total` says how many there would be."""
    answer = drawn(client, limit=4)

    assert answer["ids"] == ["1", "14", "27", "40"]
    assert answer["total"] == 40


@pytest.mark.parametrize("limit", [0, 200_001])
def test_number_of_points_is_bounded(client: TestClient, limit: int) -> None:
    """More than the service is ready to draw is refused."""
    assert client.get("/map", params={"limit": limit}).status_code == 422
