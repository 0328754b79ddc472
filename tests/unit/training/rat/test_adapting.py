"""`llmemb_training.rat.adapting`: the recommender that is written is the one that was trained, whatever the options."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.evaluation.ranking import ndcg, rank_targets
from llmemb_training.rat.adapting import adapt
from llmemb_training.rat.checkpoint import Progress
from llmemb_training.rat.recommenders import TrainedRecommender
from tests.support.prepared import write_prepared

Array = NDArray[np.float32]
WIDTH = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """36 warm items, each with training interactions, and 4 cold ones."""
    made = read_dataset(write_prepared(tmp_path_factory.mktemp("prepared")))
    assert made.train_counts[: made.num_warm].all()
    return made


def raw_embeddings(dataset: Dataset) -> Array:
    return np.random.default_rng(0).normal(size=(dataset.num_items, WIDTH)).astype(np.float32)


def collaborative(dataset: Dataset) -> Array:
    return np.random.default_rng(1).normal(size=(dataset.num_warm, 8)).astype(np.float32)


def run(
    dataset: Dataset, folder: Path, towards: Array | None = None, *, seed: int = 3, **options: Any
) -> tuple[TrainedRecommender, Progress]:
    config = RatConfig.model_validate(
        {
            "model": {"dim": 8, "max_length": 6, "layers": 1, "dropout": 0.1},
            "components": 6,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "max_epochs": 2,
        }
        | options
    )
    folder.mkdir(exist_ok=True)
    return adapt(
        config, seed, dataset, raw_embeddings(dataset), towards, folder / "checkpoint.safetensors", folder / "logs"
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"table": "trained"},
        {"table": "trained", "residual": {"mode": "none"}},
        {"residual": {"mode": "popular", "min_interactions": 7}},
        {"residual": {"mode": "none"}, "adapter_layers": 1},
        {"reduction": "none", "components": 999},
        {"reduction": "pca", "scoring": "cosine"},
        {"scoring": "cosine", "table": "trained", "loss": "gbce", "num_negatives": 4},
        {"model": {"name": "bert4rec", "dim": 8, "max_length": 6}, "loss": "sampled_softmax"},
        {"model": {"name": "gru4rec", "dim": 8, "max_length": 6}, "loss": "bce"},
    ],
    ids=str,
)
def test_written_recommender_is_the_trained_one(dataset: Dataset, options: dict[str, Any], tmp_path: Path) -> None:
    """Projection, residual and model, put together again, reach the validation figure of the best epoch."""
    recommender, progress = run(dataset, tmp_path, **options)
    table = recommender.item_embeddings[: dataset.num_warm]
    ranks = rank_targets(recommender.model, table, dataset.validation, exclude_history=True)

    assert float(ndcg(ranks, 10).mean()) == pytest.approx(progress.best_score, abs=1e-6)
    assert recommender.projection is not None
    assert np.array_equal(recommender.semantic, recommender.projection.apply(raw_embeddings(dataset)))
    assert recommender.scoring == options.get("scoring", "dot")
    if recommender.scoring == "cosine":
        np.testing.assert_allclose(np.linalg.norm(recommender.item_embeddings, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("table", ["frozen", "trained"])
@pytest.mark.parametrize("mode", ["none", "all", "popular"])
def test_residual_is_of_the_items_that_the_mode_names(dataset: Dataset, mode: str, table: str, tmp_path: Path) -> None:
    """Cold items never have one; a trained table is a residual of all warm items to the frozen embeddings."""
    recommender, _ = run(dataset, tmp_path, residual={"mode": mode, "min_interactions": 7}, table=table)
    counts = dataset.train_counts
    expected = {"none": counts < 0, "all": counts > 0, "popular": counts >= 7}[mode]
    assert 0 < (counts >= 7).sum() < dataset.num_warm
    if table == "trained":
        expected = counts > 0

    if recommender.residual is None:
        assert not expected.any()
    else:
        # Folding is exact in float64 only: ignore differences within rounding.
        assert (np.abs(recommender.residual).max(axis=1) > 1e-5).tolist() == expected.tolist()
        assert not recommender.residual[dataset.num_warm :].any()


def test_cold_items_take_no_part(dataset: Dataset, tmp_path: Path) -> None:
    """Their raw embeddings change neither the projection nor the model."""
    first, _ = run(dataset, tmp_path / "a")
    changed = raw_embeddings(dataset)
    changed[dataset.num_warm :] *= 50
    config = RatConfig.model_validate(
        {
            "model": first.model.spec,
            "components": 6,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "max_epochs": 2,
        }
    )
    (tmp_path / "b").mkdir()
    second, _ = adapt(config, 3, dataset, changed, None, tmp_path / "b" / "checkpoint.safetensors", tmp_path / "logs")

    assert first.projection is not None
    assert second.projection is not None
    assert np.array_equal(first.projection.weight, second.projection.weight)
    assert np.array_equal(first.semantic[: dataset.num_warm], second.semantic[: dataset.num_warm])


def test_alignment_pulls_towards_the_collaborative_table(dataset: Dataset, tmp_path: Path) -> None:
    """The greater alpha, the nearer the items' embeddings are to their collaborative ones; at 0 it is left out."""
    towards = collaborative(dataset)
    cosines = {}
    tables = {}
    for alpha in (0.0, 100.0):
        alignment = {"alpha": alpha, "temperature": 0.1}
        recommender, _ = run(
            dataset, tmp_path / str(alpha), towards, alignment=alignment, max_epochs=6, residual={"mode": "none"}
        )
        tables[alpha] = recommender.semantic
        unit = recommender.semantic[: dataset.num_warm]
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        cosines[alpha] = float((unit * towards / np.linalg.norm(towards, axis=1, keepdims=True)).sum(axis=1).mean())
    without, _ = run(
        dataset, tmp_path / "none", None, alignment={"alpha": 100}, max_epochs=6, residual={"mode": "none"}
    )

    assert cosines[100.0] > cosines[0.0] + 0.05
    assert np.array_equal(tables[0.0], without.semantic)


@pytest.mark.parametrize(
    "change",
    [
        {"alignment": {"alpha": 1.0, "form": "soft"}},
        {"alignment": {"alpha": 1.0, "temperature": 0.2}},
        {"alignment": {"alpha": 2.0}},
        {"reduction": "pca"},
        {"reduction": "none"},
        {"components": 5},
        {"adapter_layers": 1},
        {"table": "trained"},
        {"scoring": "cosine"},
        {"loss": "bce"},
        {"loss": "sampled_softmax"},
        {"loss": "gbce"},
        {"residual": {"mode": "none"}},
        {"residual": {"dropout": 0.9}},
        {"weight_decay": 0.5},
    ],
    ids=str,
)
def test_option_changes_the_projection(dataset: Dataset, change: dict[str, Any], tmp_path: Path) -> None:
    """None of the options is read and forgotten."""
    base = {"alignment": {"alpha": 1.0}}
    plain, _ = run(dataset, tmp_path / "a", collaborative(dataset), **base)
    other, _ = run(dataset, tmp_path / "b", collaborative(dataset), **(base | change))

    assert plain.projection is not None
    assert other.projection is not None
    assert not np.allclose(plain.projection.weight, other.projection.weight, atol=1e-5)


def test_finished_training_is_read_from_its_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    """Begun again it comes to the same recommender without another epoch."""
    first, progress = run(dataset, tmp_path)
    written = (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns
    torch.rand(5)
    second, again = run(dataset, tmp_path)

    assert again == progress
    assert (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns == written
    assert np.array_equal(first.item_embeddings, second.item_embeddings)
    assert all(torch.equal(second.model.state_dict()[key], value) for key, value in first.model.state_dict().items())


def test_seed_decides_everything(dataset: Dataset, tmp_path: Path) -> None:
    """The same seed ends with the same bits, another one with others."""
    one, same, other = (
        run(dataset, tmp_path / name, seed=seed)[0].item_embeddings for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
