"""Embedding and recommending on a real bundle: the answers equal what the offline code computes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from llmemb.bundle import Bundle, BundleItems, read_bundle, write_bundle
from llmemb.encoder.prompt import PromptSpec
from llmemb.index import NO_ROWS, RowFilter
from llmemb.item import attributes_to_json
from llmemb.scoring.session import session_vectors
from llmemb_service.app import create_app
from llmemb_service.storage.sqlite.log import SqliteItemLog
from tests.support.service import HEAT, make_settings, running, wait_until


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service whose catalogue is the bundle's: add nothing to it."""
    with running(make_settings(tiny_bundle, tmp_path_factory.mktemp("untouched") / "state", max_k=100)) as client:
        yield client


@pytest.fixture
def own(tiny_bundle: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service of the test's own, with room for three items."""
    with running(make_settings(tiny_bundle, tmp_path / "state", max_k=100, max_added_items=3)) as client:
        yield client


def embed(client: TestClient, *items: dict[str, Any], index: bool = False) -> dict[str, Any]:
    """Embed items that must be fine."""
    response = client.post("/embed_items", json={"items": list(items), "index": index})
    assert response.status_code == 200, response.text
    return response.json()


def recommend(client: TestClient, **body: Any) -> dict[str, Any]:
    """Recommend after a history that must be fine."""
    response = client.post("/recommend", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def body_of(bundle: Bundle, item_id: str) -> dict[str, Any]:
    """An item of the bundle as a request gives it."""
    return {"id": item_id, "attributes": dict(bundle.items.attributes(bundle.items.rows[item_id]))}


def test_embed_items_gives_catalogue_items_their_own_embeddings(client: TestClient, bundle: Bundle) -> None:
    """An item of the bundle embedded again has its stored vector, residual included."""
    answer = embed(client, *(body_of(bundle, item_id) for item_id in bundle.items.ids))
    vectors = np.array([each["embedding"] for each in answer["embeddings"]])

    assert answer["bundle_id"] == bundle.manifest.id
    assert answer["dimension"] == vectors.shape[1] == bundle.manifest.dim
    assert [each["id"] for each in answer["embeddings"]] == list(bundle.items.ids)
    np.testing.assert_allclose(vectors, bundle.item_embeddings, rtol=1e-3, atol=1e-4)


def test_embed_items_gives_other_ids_the_projection_alone(client: TestClient, bundle: Bundle) -> None:
    """The same text under a new id: no residual."""
    answer = embed(client, {"id": "new", "attributes": body_of(bundle, "1")["attributes"]})

    np.testing.assert_allclose(answer["embeddings"][0]["embedding"], bundle.semantic[0], rtol=1e-3, atol=1e-4)


def test_embed_items_says_what_was_cached(client: TestClient) -> None:
    """The text decides, not the id; the order of attributes does not."""
    film = {**HEAT, "title": "Never embedded before"}
    first = embed(client, {"id": "a", "attributes": film}, {"id": "b", "attributes": film})
    second = embed(
        client,
        {"id": "c", "attributes": dict(reversed(film.items()))},
        {"id": "d", "attributes": {**film, "title": "Nor this one"}},
    )

    assert [each["cached"] for each in first["embeddings"]] == [False, False]
    assert [each["cached"] for each in second["embeddings"]] == [True, False]
    assert second["embeddings"][0]["embedding"] == first["embeddings"][0]["embedding"]


def test_recommend_equals_the_offline_ranking(client: TestClient, bundle: Bundle) -> None:
    """For histories of ids of any length, the longest over the model's: the same items and scores."""
    random = np.random.default_rng(0)
    for length in (1, 2, 5, 10, 25):
        rows = random.integers(0, len(bundle.items.ids), length)
        history = bundle.item_embeddings[rows]
        for excluded in (np.unique(rows), NO_ROWS):
            sessions = session_vectors(bundle.sequence_model, [history])
            hits = bundle.index.search(sessions, [10], [RowFilter(None, excluded)])[0]
            answer = recommend(
                client, history=[bundle.items.ids[row] for row in rows], k=10, exclude_history=len(excluded) > 0
            )

            assert ids(answer) == [bundle.items.ids[row] for row in hits.rows]
            np.testing.assert_allclose([item["score"] for item in answer["items"]], hits.scores, rtol=1e-5)
            assert answer["fallback"] is None


def test_recommend_reads_an_item_by_attributes_as_the_item(client: TestClient, bundle: Bundle) -> None:
    """An item without a residual, given by its text, draws the same answer as its id."""
    by_id = recommend(client, history=["3", "40"], k=5, exclude_history=False)
    by_text = recommend(
        client, history=["3", {"attributes": body_of(bundle, "40")["attributes"]}], k=5, exclude_history=False
    )

    assert ids(by_text) == ids(by_id)
    np.testing.assert_allclose(
        [item["score"] for item in by_text["items"]], [item["score"] for item in by_id["items"]], rtol=1e-3
    )


def test_recommend_with_more_than_there_is_gives_all_there_is(client: TestClient) -> None:
    """k above the catalogue: every item but the history's."""
    answer = recommend(client, history=["1", "2", "2"], k=100)

    assert len(answer["items"]) == 38
    assert not {"1", "2"} & set(ids(answer))


def test_recommend_excludes_the_whole_history(client: TestClient, bundle: Bundle) -> None:
    """Also the part that the model does not read any more."""
    history = list(bundle.items.ids[:30])

    assert set(ids(recommend(client, history=history, k=100))) == set(bundle.items.ids[30:])


def test_recommend_without_a_history_goes_by_popularity(own: TestClient, bundle: Bundle) -> None:
    """And says so; equal counts come in the order of the catalogue, added and replaced items at the end."""
    embed(own, {"id": "new", "attributes": HEAT}, {"id": "1", "attributes": HEAT}, index=True)
    answer = recommend(own, history=[], k=100)
    popularity = bundle.items.popularity
    expected = sorted(range(40), key=lambda row: (-popularity[row], bundle.items.ids[row] == "1", row))

    assert answer["fallback"] == "popular"
    assert ids(answer) == [*(bundle.items.ids[row] for row in expected), "new"]
    assert [item["score"] for item in answer["items"]] == [*(popularity[row] for row in expected), 0]
    assert next(item for item in answer["items"] if item["id"] == "1")["attributes"]["title"] == "Heat"
    assert ids(recommend(own, history=[], k=3)) == ids(answer)[:3]


def test_new_item_is_recommended_at_once(own: TestClient) -> None:
    """Posted with `index`, it can be recommended and stand in a history; without, it is unknown."""
    embed(own, {"id": "new", "attributes": HEAT})
    assert own.post("/recommend", json={"history": ["new"]}).status_code == 422

    embed(own, {"id": "new", "attributes": HEAT}, index=True)
    answer = recommend(own, history=["1"], k=100)
    item = next(item for item in answer["items"] if item["id"] == "new")

    assert item["attributes"] == {"title": "Heat", "release_year": "1995", "genres": ["Action", "Crime"]}
    assert "new" not in ids(recommend(own, history=["new"], k=100))
    counts = own.get("/info").json()["catalogue"]
    assert counts == {"items": 41, "bundle": 40, "added": 1, "pending": 0, "left_out": 0}


def test_new_item_scores_by_its_embedding(own: TestClient, bundle: Bundle) -> None:
    """Session vector times the embedding that `/embed_items` gave."""
    vector = embed(own, {"id": "new", "attributes": HEAT}, index=True)["embeddings"][0]["embedding"]
    session = session_vectors(bundle.sequence_model, [bundle.item_embeddings[[4, 9]]])[0]
    answer = recommend(own, history=["5", "10"], k=100)

    assert next(item["score"] for item in answer["items"] if item["id"] == "new") == pytest.approx(
        float(session @ np.array(vector)), rel=1e-4
    )


def test_indexing_a_known_id_replaces_it(own: TestClient, bundle: Bundle) -> None:
    """Bundle's or added: one item of that id, with the new attributes and the new vector."""
    embed(own, {"id": "1", "attributes": HEAT}, {"id": "new", "attributes": HEAT}, index=True)
    changed = {"title": "Changed"}
    vector = embed(own, {"id": "1", "attributes": changed}, {"id": "new", "attributes": changed}, index=True)
    answer = recommend(own, history=["2"], k=100)
    session = session_vectors(bundle.sequence_model, [bundle.item_embeddings[[1]]])[0]

    assert sorted(ids(answer)) == sorted({*bundle.items.ids, "new"} - {"2"})
    for each in vector["embeddings"]:
        item = next(item for item in answer["items"] if item["id"] == each["id"])
        assert item["attributes"] == changed
        assert item["score"] == pytest.approx(float(session @ np.array(each["embedding"])), rel=1e-4)


def test_indexing_past_the_limit_adds_none_of_the_request(own: TestClient) -> None:
    """409; replacing what is there needs no room."""
    items = [{"id": f"new {i}", "attributes": HEAT} for i in range(3)]
    embed(own, *items[:2], index=True)
    response = own.post("/embed_items", json={"items": [*items, {"id": "1", "attributes": HEAT}], "index": True})

    assert response.status_code == 409
    assert response.json()["code"] == "catalogue_full"
    assert own.get("/info").json()["catalogue"]["added"] == 2
    embed(own, items[0], items[2], index=True)


def test_indexing_that_the_disk_refuses_adds_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    """503, and neither the catalogue nor, after a restart, the disk has the items; recommendations go on."""
    settings = make_settings(tiny_bundle, tmp_path / "state", readiness_cache_seconds=0)
    items = [{"id": str(i), "attributes": {"title": "x" * 9000}} for i in range(100, 103)]
    app = create_app(settings)
    with TestClient(app) as client:
        log = app.state.runtime.storage.items
        assert isinstance(log, SqliteItemLog)
        connection = log._writer._connection
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        response = client.post("/embed_items", json={"items": items, "index": True})

        assert response.status_code == 503
        assert response.json()["code"] == "storage"
        assert int(response.headers["Retry-After"]) >= 1
        assert client.post("/recommend", json={"history": ["100"]}).status_code == 422
        assert len(recommend(client, history=["1"], k=100)["items"]) == 39
    with running(settings) as client:
        assert client.get("/info").json()["catalogue"]["items"] == 40


def test_unknown_ids_are_all_listed(client: TestClient) -> None:
    """Each id once, in the history's order, however many; and every place."""
    history = ["b", "1", *(f"unknown {i}" for i in range(50)), "b"]
    response = client.post("/recommend", json={"history": history})
    problem = response.json()

    assert response.status_code == 422
    assert problem["code"] == "unknown_item"
    assert problem["unknown_item_ids"] == ["b", *(f"unknown {i}" for i in range(50))]
    assert len(problem["errors"]) == 52


def test_added_items_outlive_a_restart(tiny_bundle: Path, tmp_path: Path) -> None:
    """The app stopped and started again gives the same answer as before."""
    settings = make_settings(tiny_bundle, tmp_path / "state")
    with running(settings) as client:
        embed(client, {"id": "new", "attributes": HEAT}, {"id": "2", "attributes": HEAT}, index=True)
        before = recommend(client, history=["1"], k=100)
    with running(settings) as client:
        after = recommend(client, history=["1"], k=100)
        counts = client.get("/info").json()["catalogue"]

    assert after == before
    assert counts == {"items": 41, "bundle": 39, "added": 2, "pending": 0, "left_out": 0}


def test_added_items_are_embedded_again_for_another_bundle(
    tiny_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    """What the new bundle knows is embedded by it, and the rest waits in the store for a bundle that does."""
    with running(make_settings(tiny_bundle, tmp_path / "state")) as client:
        embed(client, {"id": "kept", "attributes": {"title": "Heat"}}, {"id": "out", "attributes": HEAT}, index=True)
        before = recommend(client, history=["kept"], k=5)
    with running(make_settings(other_bundle, tmp_path / "state", readiness_cache_seconds=0)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the new bundle has embedded what it knows")
        counts = client.get("/info").json()["catalogue"]
        vector = embed(client, {"id": "kept", "attributes": {"title": "Heat"}})["embeddings"][0]["embedding"]
        other = read_bundle(other_bundle)
        session = session_vectors(other.sequence_model, [other.item_embeddings[[0]]])[0]
        kept = next(item for item in recommend(client, history=["1"], k=100)["items"] if item["id"] == "kept")
        assert client.post("/recommend", json={"history": ["out"]}).status_code == 422
    with running(make_settings(tiny_bundle, tmp_path / "state")) as client:
        again = recommend(client, history=["kept"], k=5)

    assert counts == {"items": 41, "bundle": 40, "added": 1, "pending": 0, "left_out": 1}
    assert kept["score"] == pytest.approx(float(session @ np.array(vector)), rel=1e-3)
    assert ids(again) == ids(before)


@pytest.fixture(scope="module")
def other_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the same films whose prompt has nothing but titles, with another projection."""
    bundle = read_bundle(tiny_bundle)
    titles = [{"title": bundle.items.attributes(row)["title"]} for row in range(len(bundle.items.ids))]
    prompt = PromptSpec("movie", ("title",))
    projection = replace(bundle.projection, weight=-bundle.projection.weight)
    target = tmp_path_factory.mktemp("other") / "bundle"
    write_bundle(
        target,
        prompt=prompt,
        encoder_folder=tiny_bundle / "encoder",
        encoder=bundle.manifest.encoder,
        projection=projection,
        sequence_model=bundle.sequence_model,
        items=BundleItems(
            ids=bundle.items.ids,
            attributes_json=tuple(map(attributes_to_json, titles)),
            popularity=bundle.items.popularity,
        ),
        semantic=projection.apply(bundle.load_encoder().encode([prompt.render(title) for title in titles])),
        residual=None,
        scoring="dot",
        semantic_term=None,
        profile=None,
        successors=None,
        metrics=(),
        selection=(),
        seed=1,
        provenance=bundle.manifest.provenance,
    )
    return target
