"""A bundle of any sequence model and any options answers as its files say, by a dense matrix and nothing of ours.

The bundles are random; `test_served_equals_evaluated.py` takes trained ones from the evaluation to the service.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from llmemb.bundle import Bundle, read_bundle
from llmemb.index import Array
from llmemb.sequence_models import SEQUENCE_MODELS
from tests.support.service import make_settings, running
from tests.support.tiny import write_tiny_bundle

GAMMA = 5.0
"""Large, so that the semantic term changes who is recommended."""
DELTA = 4.0
"""As large, for the successor vectors."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Served:
    """A bundle and a client of the service that serves it."""

    bundle: Bundle
    client: TestClient

    def recommend(
        self, history: Sequence[str | dict[str, object]], k: int, **options: object
    ) -> tuple[list[str], Array]:
        """Return what the service recommends: ids and scores."""
        body = {"history": list(history), "k": k, "exclude_history": False} | options
        response = self.client.post("/recommend", json=body)
        assert response.status_code == 200, response.text
        items = response.json()["items"]
        return [item["id"] for item in items], np.array([item["score"] for item in items], dtype=np.float32)

    def embed(self, *items: dict[str, object], index: bool = False) -> Array:
        """Return the embeddings of items, `(n, d)`."""
        response = self.client.post("/embed_items", json={"items": items, "index": index})
        assert response.status_code == 200, response.text
        return np.array([each["embedding"] for each in response.json()["embeddings"]], dtype=np.float32)


def item_embeddings(bundle: Bundle) -> Array:
    """The item embeddings `(N, d)`, made of the bundle's tables by hand."""
    embeddings = bundle.semantic if bundle.residual is None else bundle.semantic + bundle.residual
    if bundle.manifest.scoring == "cosine":
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings


def session_vector(bundle: Bundle, history: Array) -> Array:
    """The session vector `(d,)` of item embeddings `(n, d)`, without a semantic term."""
    recent = torch.from_numpy(history[-bundle.manifest.sequence_model.max_length :])[None]
    with torch.inference_mode():
        return bundle.sequence_model.session_vectors(recent, torch.ones(1, recent.shape[1], dtype=torch.bool))[
            0
        ].numpy()


def dense_scores(bundle: Bundle, rows: list[int]) -> Array:
    """Score all items after a history of item rows, `(N,)`."""
    embeddings = item_embeddings(bundle)
    scores = embeddings @ session_vector(bundle, embeddings[rows])
    term = bundle.manifest.semantic_term
    if term is not None:
        assert bundle.profile is not None
        cosines = bundle.profile[rows[-term.history :]] @ bundle.profile.T
        weights = term.decay ** np.arange(len(cosines))[::-1]
        scores = scores + term.gamma * np.average(cosines, axis=0, weights=weights)
        if term.delta:
            assert bundle.successors is not None
            likeness = bundle.successors[rows[-term.history :]].astype(np.float32) @ bundle.profile.T
            scores = scores + term.delta * np.average(likeness, axis=0, weights=weights)
    return scores


@pytest.fixture(
    scope="module",
    params=product(SEQUENCE_MODELS, ["dot", "cosine"], [(0.0, 0.0), (GAMMA, 0.0), (GAMMA, DELTA)], [True, False]),
    ids=lambda options: "-".join(map(str, options)),
)
def served(
    request: pytest.FixtureRequest, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Each sequence model and scoring, without a semantic term, with one, with successors, with or without residual."""
    sequence_model, scoring, (gamma, delta), with_residual = request.param
    folder = write_tiny_bundle(
        tmp_path_factory.mktemp("options") / "bundle",
        tiny_llm,
        sequence_model=sequence_model,
        scoring=scoring,
        gamma=gamma,
        delta=delta,
        with_residual=with_residual,
    )
    with running(make_settings(folder, tmp_path_factory.mktemp("state"))) as client:
        yield Served(read_bundle(folder), client)


def test_served_top_k_is_that_of_a_dense_matrix(served: Served) -> None:
    """For histories shorter and longer than the model and the term read: the same items, the same scores."""
    random = np.random.default_rng(0)
    ids = served.bundle.items.ids
    for length in (1, 2, 5, 14):
        rows = random.integers(0, len(ids), length).tolist()
        scores = dense_scores(served.bundle, rows)
        best = np.argsort(-scores, kind="stable")[:10]

        found, found_scores = served.recommend([ids[row] for row in rows], 10)

        np.testing.assert_allclose(found_scores, scores[best], rtol=TOLERANCE, atol=TOLERANCE)
        assert found == [ids[row] for row in best]


def test_filtered_top_k_is_that_of_a_dense_matrix(served: Served) -> None:
    """The best of those that pass, with the scores that they have without a filter; reasons change nothing."""
    bundle = served.bundle
    ids, rows = bundle.items.ids, [3, 1, 4]
    scores = dense_scores(bundle, rows)
    dramas = [row for row in range(len(ids)) if "Drama" in bundle.items.attributes(row)["genres"]]
    passing = [row for row in np.argsort(-scores, kind="stable") if row in dramas and row not in {*rows, dramas[0]}]
    filters = {"categories_any": ["Drama"], "deny": [ids[dramas[0]]]}

    for explain in (False, True):
        found, found_scores = served.recommend(
            [ids[row] for row in rows], 5, filters=filters, exclude_history=True, explain=explain
        )

        np.testing.assert_allclose(found_scores, scores[passing[:5]], rtol=TOLERANCE, atol=TOLERANCE)
        assert found == [ids[row] for row in passing[:5]]
    assert len(passing) >= 5


def test_catalogue_items_embedded_again_are_the_stored_ones(served: Served) -> None:
    """By their attributes alone the items have their stored embeddings, of unit length where scoring is by cosine."""
    bundle = served.bundle
    bodies = [
        {"id": item_id, "attributes": dict(bundle.items.attributes(row))}
        for item_id, row in list(bundle.items.rows.items())
    ]

    np.testing.assert_allclose(served.embed(*bodies), item_embeddings(bundle), rtol=1e-3, atol=1e-4)


def test_added_item_of_the_same_text_scores_as_its_twin_without_residual(served: Served) -> None:
    """Posted over HTTP under a new id, it is found immediately, by its embedding and, with a term, by its text."""
    bundle = served.bundle
    twin = len(bundle.items.ids) - 1  # without interactions, hence without a residual
    served.embed({"id": "twin", "attributes": dict(bundle.items.attributes(twin))}, index=True)
    rows = [3, 1, 4]

    found, scores = served.recommend([bundle.items.ids[row] for row in rows], len(bundle.items.ids) + 1)

    assert sorted(found) == sorted([*bundle.items.ids, "twin"])
    assert scores[found.index("twin")] == pytest.approx(dense_scores(bundle, rows)[twin], rel=1e-3, abs=1e-3)


def test_history_of_an_added_item_counts_as_its_twin(served: Served) -> None:
    """In a history the new item stands for the same as the catalogue's item of that text, by id and by attributes."""
    bundle = served.bundle
    twin = len(bundle.items.ids) - 1
    attributes = dict(bundle.items.attributes(twin))
    served.embed({"id": "twin", "attributes": attributes}, index=True)
    expected = dense_scores(bundle, [3, twin])

    for entry in ("twin", {"attributes": attributes}):
        scores = dict(zip(*served.recommend([bundle.items.ids[3], entry], 100), strict=True))
        np.testing.assert_allclose([scores[item_id] for item_id in bundle.items.ids], expected, rtol=1e-3, atol=1e-3)


def test_replaced_item_keeps_its_residual(served: Served) -> None:
    """An id of the bundle with another text: the text's semantic part, and the residual that belongs to the id."""
    bundle = served.bundle
    text = len(bundle.items.ids) - 1
    embedding = served.embed({"id": bundle.items.ids[0], "attributes": dict(bundle.items.attributes(text))})[0]
    expected = bundle.semantic[text] if bundle.residual is None else bundle.semantic[text] + bundle.residual[0]
    if bundle.manifest.scoring == "cosine":
        expected = expected / np.linalg.norm(expected)

    np.testing.assert_allclose(embedding, expected, rtol=1e-3, atol=1e-3)


def test_info_says_how_it_scores(served: Served) -> None:
    """Scoring, semantic term and what was chosen on validation, as the manifest has them."""
    manifest = served.bundle.manifest
    info = served.client.get("/info").json()

    assert (info["scoring"], info["has_residual"]) == (manifest.scoring, manifest.has_residual)
    assert info["semantic_term"] == (manifest.semantic_term and manifest.semantic_term.model_dump())
    assert info["selection"] == [choice.model_dump(mode="json") for choice in manifest.selection]
    assert info["selection"][0]["option"] == "rat.components"


def test_semantic_term_changes_who_is_recommended(tiny_llm: Path, tmp_path: Path) -> None:
    """With it the item of the likest text comes first for a history of one; without it, not for all."""
    firsts = {}
    for gamma in (0.0, 1e5):
        folder = write_tiny_bundle(tmp_path / str(gamma), tiny_llm, gamma=gamma)
        with running(make_settings(folder, tmp_path / "state")) as client:
            served = Served(read_bundle(folder), client)
            firsts[gamma] = [served.recommend([item_id], 1)[0][0] for item_id in served.bundle.items.ids]

    assert firsts[1e5] == list(served.bundle.items.ids)
    assert firsts[0.0] != firsts[1e5]
