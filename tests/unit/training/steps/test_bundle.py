"""`llmemb_training.steps.bundle`: the index and the categories that it chooses, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmemb.bundle import Bundle, read_bundle
from llmemb.encoder.encoder import load_llm
from llmemb.errors import BundleError, ConfigError
from llmemb.index import IndexKind
from llmemb.scoring.projection import Projection
from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import Config
from llmemb_training.data.dataset import categories_attribute
from llmemb_training.evaluation.figures import FIGURES_FILE, Figures
from llmemb_training.rat.recommenders import TrainedRecommender, write_recommender
from llmemb_training.steps import bundle
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
