"""`llmemb_training.steps.bundle`: the index and the categories that it chooses, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from llmemb.bundle import Bundle, read_bundle
from llmemb.encoder.encoder import load_llm
from llmemb.errors import BundleError, ConfigError
from llmemb.index import IndexKind
from llmemb.item_map import laid_out_rows, pca_positions, place_near_neighbours
from llmemb.scoring.projection import Projection
from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import Config
from llmemb_training.data.dataset import categories_attribute
from llmemb_training.evaluation.figures import FIGURES_FILE, Figures
from llmemb_training.rat.recommenders import TrainedRecommender, write_recommender
from llmemb_training.steps import bundle
from llmemb_training.steps.bundle import lay_out_items
from tests.support.prepared import write_prepared

NUM_ITEMS, WIDTH = 40, 64


def config_with(**options: str) -> Config:
    """The least configuration, and in its bundle section these options."""
    content: dict[str, Any] = {"prepare": {"path": "-", "domain": "movie"}, "encoder": {"base": "tiny"}}
    return Config.model_validate(content | {"bundle": options})


def write_run(folder: Path, llm: Path) -> Path:
    """Write what the step reads, all of it into one folder: a recommender with random weights, and no figures."""
    random = np.random.default_rng(0)
    write_prepared(folder, num_items=NUM_ITEMS)
    encoder = load_llm(str(llm), max_tokens=64)
    encoder.save(folder / "encoder")
    vectors = random.normal(size=(NUM_ITEMS, WIDTH)).astype(np.float32)
    projection = Projection(np.zeros((encoder.width, WIDTH), np.float32), np.zeros(WIDTH, np.float32))
    model = build_sequence_model(config_with().rat.model).eval()
    write_recommender(folder, TrainedRecommender(model, vectors, projection=projection))
    figures = Figures(
        seed=0,
        tail_max_train_count=1,
        confidence=0.95,
        bootstrap_samples=100,
        group_bounds=(),
        figures=(),
        comparisons=(),
    )
    (folder / FIGURES_FILE).write_text(figures.model_dump_json())
    return folder


def run_step(config: Config, run: Path, target: Path) -> tuple[str, Bundle]:
    """The summary line, and what was written."""
    summary = bundle.run(config, run, run, run / "encoder", run, run, target)
    return summary, read_bundle(target)


@pytest.fixture(scope="module")
def written_run(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; read it, never write to it."""
    return write_run(tmp_path_factory.mktemp("run"), tiny_llm)


@pytest.mark.parametrize(
    ("configured", "kind", "queries"),
    [("auto", "flat", 0), ("flat", "flat", 0), ("hnsw", "hnsw", 120), ("ivf", "ivf", 120)],
)
def test_index_is_measured_on_session_vectors(
    configured: str, kind: IndexKind, queries: int, written_run: Path, tmp_path: Path
) -> None:
    """The kind is what the configuration says, `auto` by size; the recall is measured on every test and validation
    history, up to a thousand, and the summary names both."""
    summary, written = run_step(config_with(index=configured), written_run, tmp_path / "bundle")

    assert (written.index.spec.kind, written.index.spec.recall_queries) == (kind, queries)
    assert written.index.spec.recall_at_10 >= 0.99
    assert summary.endswith(f"index {kind}, recall@10 {written.index.spec.recall_at_10:.4f}")


@pytest.mark.parametrize(("configured", "expected"), [("auto", None), ("", None), ("studio", "studio")])
def test_categories_attribute(configured: str, expected: str | None, written_run: Path, tmp_path: Path) -> None:
    """It is the one that the configuration names; `auto` finds none where no attribute has such a name."""
    _, written = run_step(config_with(categories_attribute=configured), written_run, tmp_path / "bundle")

    assert written.manifest.categories_attribute == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("title", "genre", "genres", "category"), "category"),
        (("title", "genre", "genres"), "genres"),
        (("genre",), "genre"),
        (("category", "categories"), "categories"),
        ((), None),
    ],
)
def test_categories_attribute_that_auto_takes(names: tuple[str, ...], expected: str | None) -> None:
    """The first of the usual names that is an attribute."""
    assert categories_attribute("auto", names) == expected


def test_unknown_categories_attribute_is_refused(written_run: Path, tmp_path: Path) -> None:
    """The message names the key and the attributes that there are; nothing is written."""
    with pytest.raises(
        ConfigError,
        match=r"^bundle\.categories_attribute is 'shelf', but the items have only the attributes title, year, studio$",
    ):
        run_step(config_with(categories_attribute="shelf"), written_run, tmp_path / "bundle")

    assert not (tmp_path / "bundle").exists()


def test_recommender_on_ids_makes_no_bundle(tmp_path: Path) -> None:
    """It could embed no new item; nothing is written."""
    config = config_with()
    prepared = write_prepared(tmp_path / "prepare")
    ids = TrainedRecommender(build_sequence_model(config.rat.model), np.zeros((40, 64), dtype=np.float32))
    write_recommender(prepared, ids)

    with pytest.raises(BundleError, match=r"prepare has no projection: a vanilla recommender cannot embed new items$"):
        bundle.run(config, prepared, prepared, prepared, prepared, prepared, tmp_path / "bundle")

    assert not (tmp_path / "bundle").exists()


def clustered(num_items: int) -> NDArray[np.float32]:
    """Item embeddings around twelve directions of many, of different lengths."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(12, 32))
    vectors = centres[random.integers(0, 12, num_items)] + 0.6 * random.normal(size=(num_items, 32))
    return (vectors * random.uniform(0.5, 2, (num_items, 1))).astype(np.float32)


def test_map_keeps_more_neighbours_than_pca() -> None:
    """By the trustworthiness of ten neighbours; the map is centred and two units wide."""
    embeddings = clustered(300)
    positions = lay_out_items(embeddings)
    kept = [
        trustworthiness(embeddings, each, n_neighbors=10, metric="cosine")
        for each in (positions, pca_positions(embeddings))
    ]

    assert kept[0] > kept[1] + 0.1
    np.testing.assert_allclose(positions.min(axis=0), -positions.max(axis=0), atol=1e-6)
    assert np.abs(positions).max() == pytest.approx(1)


def test_map_is_the_same_each_time(written_run: Path, tmp_path: Path) -> None:
    """The bundle stores it, so the bundle's id is the same too."""
    first, second = (run_step(config_with(), written_run, tmp_path / name)[1] for name in "ab")

    assert first.stored_positions is not None
    np.testing.assert_array_equal(first.stored_positions, lay_out_items(first.item_embeddings))
    np.testing.assert_array_equal(first.stored_positions, second.stored_positions)
    assert first.manifest.id == second.manifest.id


def test_items_beyond_those_laid_out_are_placed_near_neighbours() -> None:
    """With a bound of 100 items, the others of 300 still lie among their neighbours."""
    embeddings = clustered(300)
    positions = lay_out_items(embeddings, max_laid_out=100)
    rows = laid_out_rows(300, 100)
    others = np.setdiff1d(np.arange(300), rows)

    assert len(rows) == 100
    np.testing.assert_array_equal(
        positions[others], place_near_neighbours(embeddings[others], embeddings[rows], positions[rows])
    )
    assert trustworthiness(embeddings, positions, n_neighbors=10, metric="cosine") > 0.9


@pytest.mark.parametrize("num_items", [1, 7, 8, 40])
def test_small_or_uniform_catalogue_has_finite_positions(num_items: int) -> None:
    """Neither few items nor items that are all the same are an error."""
    for embeddings in (clustered(num_items), np.ones((num_items, 4), dtype=np.float32)):
        positions = lay_out_items(embeddings)

        assert positions.shape == (num_items, 2)
        assert positions.dtype == np.float32
        assert np.isfinite(positions).all()
