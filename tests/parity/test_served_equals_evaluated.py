"""What the service answers is what the evaluation measured, for every test user of a trained bundle."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import polars as pl
import pytest

from llmemb.bundle import Bundle, read_bundle
from llmemb_training import pipeline
from llmemb_training.config import load_config
from tests.support.catalogue import REPOSITORY, catalogue_items, trained_run
from tests.support.service import DEADLINE_SECONDS, make_settings, serving

SCORES_AGREE = 1e-5
"""Two items whose scores differ by less may change places: sums of other batches differ in their last bits."""
COSINE = 0.9999
DEMO = REPOSITORY / "runs" / "demo"
NO_BASELINES = "evaluate.baselines=false"
TERM = ("rat.semantic_term.components=8", "rat.semantic_term.history=4")
SUCCESSORS = ("rat.successors.delta=0.5", "rat.successors.estimator=mean", "rat.successors.text_map=true")
COSINE_AND_TERM = ("rat.scoring=cosine", "rat.semantic_term.gamma=0.5", *TERM, *SUCCESSORS, NO_BASELINES)
LEFT_OPEN = (
    "rat.semantic_term.gamma=auto", "select.gamma=[0.5, 1.0]", *TERM, "rat.residual.mode=none",
    "rat.successors.delta=auto", "select.delta=[0.5, 1.0]", "rat.successors.window=auto", "rat.new_item_scale=auto",
    NO_BASELINES,
)  # fmt: skip
SHORT = ("rat.max_epochs=2", NO_BASELINES)
TRAINED_TABLE = (
    "rat.table=trained", "rat.residual.mode=popular", "rat.loss=bce", "rat.alignment.form=soft", *SHORT
)  # fmt: skip
ONE_LAYER = (
    "rat.adapter_layers=1", "rat.reduction=pca", "rat.loss=gbce", "rat.num_negatives=8", "rat.alignment.alpha=0", *SHORT
)  # fmt: skip
NO_REDUCTION = (
    "rat.reduction=none", "rat.loss=sampled_softmax", "rat.num_negatives=8", "rat.scoring=cosine",
    "rat.table=trained", "rat.residual.mode=none", *SHORT,
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A bundle, what was evaluated of it, and a client of the service that serves it."""

    run_folder: Path
    bundle: Bundle
    client: httpx2.Client

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask what must be answered."""
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        assert answer["bundle_id"] == self.bundle.manifest.id
        return answer


@pytest.fixture(scope="module")
def encoder_url(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service of one trained bundle, which embeds for those of every bundle of the made-up catalogue.

    All share an LLM, and each service holds what it gets against its own bundle when it starts.
    """
    folder = trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec").folder
    with serving(make_settings(folder / "bundle", tmp_path_factory.mktemp("encoder"))) as (_, url):
        yield f"{url}/v1"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("sasrec", ()), id="sasrec"),
        pytest.param(("gru4rec", COSINE_AND_TERM), id="gru4rec-cosine-successors"),
        pytest.param(("bert4rec", LEFT_OPEN), id="bert4rec-left-open"),
        pytest.param(
            ("sasrec", (*TRAINED_TABLE, "rat.semantic_term.gamma=0.5", *TERM, *SUCCESSORS)), id="sasrec-successors"
        ),
        pytest.param(("gru4rec", ONE_LAYER), id="gru4rec-one-layer"),
        pytest.param(("bert4rec", NO_REDUCTION), id="bert4rec-no-reduction"),
        pytest.param("smoke", marks=pytest.mark.slow),
        pytest.param("demo", marks=pytest.mark.slow),
    ],
)
def served(
    request: pytest.FixtureRequest, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Each sequence model, with options, on the made-up catalogue; the real model on real data; the demo, if any."""
    embedded_by: dict[str, str] = {}
    if request.param == "smoke":
        config = load_config(REPOSITORY / "training" / "llmemb_training" / "config" / "smoke.toml")
        if not (REPOSITORY / config.encoder.base).is_file() or not (REPOSITORY / config.prepare.path).is_dir():
            pytest.skip("the model and the data are not in .cache: `make test` gets them")
        folder = tmp_path_factory.mktemp("smoke")
        pipeline.train(config, folder)
    elif request.param == "demo":
        folder = DEMO
        if not (folder / "bundle" / "manifest.json").is_file():
            pytest.skip("there is no runs/demo/bundle: `make demo-bundle` trains it")
    else:
        folder = trained_run(tmp_path_factory.getbasetemp(), tiny_llm, *request.param).folder
        embedded_by["encoder_url"] = request.getfixturevalue("encoder_url")
    settings = make_settings(folder / "bundle", tmp_path_factory.mktemp("state"), **embedded_by)
    with (
        serving(settings) as (_, url),
        httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client,
    ):
        yield Served(folder, read_bundle(folder / "bundle"), client)


def test_recommendations_are_the_evaluated_ones(served: Served) -> None:
    """For every test user the ten items and their scores; only items of equal scores may change places."""
    frame = pl.read_parquet(served.run_folder / "evaluate" / "recommendations.parquet").filter(model="llmemb")
    exclude = served.bundle.manifest.provenance.config["evaluate"]["exclude_history"]  # type: ignore[index, call-overload]
    wrong = []
    for row in frame.iter_rows(named=True):
        answer = served.post("/recommend", history=row["history"], k=len(row["item_ids"]), exclude_history=exclude)
        ids, scores = [item["id"] for item in answer["items"]], np.array([item["score"] for item in answer["items"]])
        expected = np.array(row["scores"])
        places = [row["item_ids"].index(item) if item in row["item_ids"] else len(expected) - 1 for item in ids]
        tolerance = SCORES_AGREE * max(1.0, float(np.abs(expected).max()))
        if max(np.abs(scores - expected).max(), np.abs(scores - expected[places]).max()) > tolerance:
            wrong.append((row["user_id"], ids, row["item_ids"]))

    assert wrong == []
    assert frame.height > 0


def test_catalogue_items_embedded_again_are_the_stored_ones(served: Served) -> None:
    """Every item of the bundle, by its attributes alone, has the embedding that it was evaluated with."""
    items, stored = served.bundle.items, served.bundle.item_embeddings
    cosines = []
    for start in range(0, len(items.ids), 100):
        rows = range(start, min(start + 100, len(items.ids)))
        bodies = [{"id": items.ids[row], "attributes": json.loads(items.attributes_json[row])} for row in rows]
        answer = served.post("/embed_items", items=bodies)
        for row, each in zip(rows, answer["embeddings"], strict=True):
            vector = np.array(each["embedding"])
            cosines.append(vector @ stored[row] / np.linalg.norm(vector) / np.linalg.norm(stored[row]))

    assert min(cosines) >= COSINE
    assert len(cosines) == served.bundle.manifest.num_items


def test_unknown_item_of_the_same_text_has_the_semantic_embedding(served: Served) -> None:
    """Under a new id the same text has the projection's direction alone: what interactions taught belongs to the id."""
    items, semantic = served.bundle.items, served.bundle.semantic
    rows = range(0, len(items.ids), max(1, len(items.ids) // 20))
    bodies = [{"id": f"new-{row}", "attributes": json.loads(items.attributes_json[row])} for row in rows]
    vectors = [each["embedding"] for each in served.post("/embed_items", items=bodies)["embeddings"]]

    for row, vector in zip(rows, vectors, strict=True):
        assert np.dot(vector, semantic[row]) / np.linalg.norm(vector) / np.linalg.norm(semantic[row]) >= COSINE


def test_new_item_is_recommended_without_training(
    tiny_llm: Path, encoder_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A film without interactions, posted with `index: true`, is recommended to a user who likes its kind.

    It says what a film of one genre says; after three films of the genre it is among the ten best, and after three
    of another genre it is not before them.
    """
    folder = trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "gru4rec", COSINE_AND_TERM).folder
    settings = make_settings(folder / "bundle", tmp_path_factory.mktemp("state"), encoder_url=encoder_url)
    film = catalogue_items()["western-6"]
    with serving(settings) as (_, url), httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client:
        served = Served(folder, read_bundle(folder / "bundle"), client)

        def recommended(genre: str) -> list[str]:
            answer = served.post("/recommend", history=[f"{genre}-{number}" for number in (3, 4, 5)], k=10)
            return [item["id"] for item in answer["items"]]

        assert "brand-new" not in recommended("western")
        served.post("/embed_items", items=[{"id": "brand-new", "attributes": film}], index=True)

        assert "brand-new" in recommended("western")
        assert "brand-new" not in recommended("romance")[:5]
