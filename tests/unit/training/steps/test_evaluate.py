"""`llmemb_training.steps.evaluate`: files that agree with each other, and with a ranking done one user at a time."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmemb.scoring.session import session_vectors
from llmemb_training.config import EvaluateConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation import baselines
from llmemb_training.evaluation.figures import Figures, read_figures
from llmemb_training.evaluation.measuring import Resampling, measure, measure_catalogue
from llmemb_training.evaluation.tables import make_tables
from llmemb_training.rat.checkpoint import Progress, write_progress
from llmemb_training.rat.recommenders import read_recommender
from llmemb_training.steps import evaluate
from tests.support.evaluated import RAT, write_inputs

ITEMS, COLD, USERS, SEED = 60, 6, 80, 5
CONFIG = EvaluateConfig(ks=(3, 10), num_negatives=15, bootstrap_samples=100)
MODELS = ["llmemb", "vanilla", "vanilla_bce", "llm_init", "ease", "semantic_knn", "popular"]


class Evaluated:
    """Inputs and outputs of one evaluation."""

    def __init__(self, folder: Path, config: EvaluateConfig = CONFIG) -> None:
        self.folders, self.raw = write_inputs(folder, num_items=ITEMS, num_cold=COLD, num_users=USERS)
        self.output = folder / "evaluate"
        self.output.mkdir()
        self.summary = evaluate.run(config, RAT, SEED, self.folders, self.raw, self.output)
        self.dataset = read_dataset(self.folders.dataset)

    @property
    def figures(self) -> Figures:
        return read_figures(self.output)

    @property
    def predictions(self) -> pl.DataFrame:
        return pl.read_parquet(self.output / "predictions.parquet")

    @property
    def recommendations(self) -> pl.DataFrame:
        return pl.read_parquet(self.output / "recommendations.parquet")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """60 items, 6 of them cold, and 80 users; read it, never write to it."""
    return Evaluated(tmp_path_factory.mktemp("evaluated"))


def test_every_model_has_every_target(evaluated: Evaluated) -> None:
    """One row a model and target, in the documented columns, with the dataset's own facts."""
    dataset, frame = evaluated.dataset, evaluated.predictions

    assert frame.columns == [
        "model", "seed", "split", "user_id", "target_item_id", "target_train_count", "history_length",
        "rank_full", "rank_sampled", "rank_among_cold",
    ]  # fmt: skip
    assert frame["model"].unique(maintain_order=True).to_list() == MODELS
    for (_, split), rows in frame.group_by("model", "split"):
        targets = dataset.test if split == "test" else dataset.cold_targets
        assert tuple(rows["user_id"]) == targets.user_ids
        assert rows["target_item_id"].to_list() == [str(row) for row in targets.rows]
        assert rows["target_train_count"].to_list() == dataset.train_counts[targets.rows].tolist()
        assert rows["history_length"].to_list() == [len(history) for history in targets.histories]
    assert frame["rank_full"].is_between(1, ITEMS).all()
    assert frame["rank_sampled"].is_between(1, 16).all()
    assert frame.filter(split="test")["rank_among_cold"].is_null().all()
    among_cold = frame.filter(split="cold")
    assert among_cold["rank_among_cold"].is_between(1, COLD).all()
    # What stands before a target among all items may be warm; what stands before it among the cold is one of them.
    assert (among_cold["rank_among_cold"] <= among_cold["rank_full"]).all()
    assert frame["seed"].unique().to_list() == [SEED]


def test_ranks_and_recommendations_are_those_of_the_scores(evaluated: Evaluated) -> None:
    """User by user: session vector times all item vectors, the history left out."""
    ours = read_recommender(evaluated.folders.rat, RAT.model)
    vectors, targets = ours.item_vectors, evaluated.dataset.test
    ranks = evaluated.predictions.filter(pl.col("model") == "llmemb", pl.col("split") == "test")["rank_full"].to_list()
    recommended = evaluated.recommendations.filter(pl.col("model") == "llmemb").to_dicts()

    for history, row, rank, shown in zip(targets.histories, targets.rows, ranks, recommended, strict=True):
        (scores,) = session_vectors(ours.model, [vectors[history]]) @ vectors.T
        left = [item for item in np.argsort(-scores).tolist() if item not in history]
        assert rank == left.index(row) + 1
        assert shown["item_ids"] == [str(item) for item in left[:10]]
        assert shown["history"] == [str(item) for item in history]
        np.testing.assert_allclose(shown["scores"], scores[left[:10]], rtol=1e-4, atol=1e-5)


def test_recommendations_of_every_model(evaluated: Evaluated) -> None:
    """Ten different items for each user of the test, by score; ids cannot recommend cold items, texts can."""
    cold = {str(row) for row in range(ITEMS - COLD, ITEMS)}
    shown: dict[str, set[str]] = {}
    for row in evaluated.recommendations.iter_rows(named=True):
        assert len(set(row["item_ids"])) == 10
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert (row["history"] is None) == (row["model"] != "llmemb")
        shown.setdefault(row["model"], set()).update(row["item_ids"])

    assert list(shown) == MODELS
    assert {model for model, items in shown.items() if items & cold} == {"llmemb", "llm_init", "semantic_knn"}


def test_models_without_cold_items_rank_them_last(evaluated: Evaluated) -> None:
    """A cold item has no vector there, and stands behind all others."""
    cold = evaluated.predictions.filter(pl.col("split") == "cold")
    last = cold.group_by("model").agg((pl.col("rank_full") == ITEMS).all()).filter("rank_full")["model"]

    assert set(last) == {"vanilla", "vanilla_bce", "ease"}


def test_figures_are_made_of_the_files(evaluated: Evaluated) -> None:
    """All from the predictions but the catalogue's, which are of the recommendations."""
    figures, dataset = evaluated.figures, evaluated.dataset
    resampling = Resampling(bootstrap_samples=100, confidence=0.95, seed=SEED)
    again, comparisons = measure(evaluated.predictions, figures.group_bounds, CONFIG.ks, "llmemb", resampling)
    best = {
        str(model): np.array([[int(item) for item in items] for items in rows["item_ids"]])
        for (model,), rows in evaluated.recommendations.group_by("model", maintain_order=True)
    }
    catalogue = measure_catalogue(best, dataset.train_counts <= figures.tail_max_train_count)

    assert figures.figures == (*again, *catalogue)
    assert figures.comparisons == comparisons
    assert (evaluated.output / "table.md").read_text() == make_tables(figures)


def test_baseline_that_did_not_converge_is_compared_with_nothing(tmp_path: Path) -> None:
    """How each training went is read from its folder; a faulty one is warned of, and no difference to it is stated."""
    folders, raw = write_inputs(tmp_path, num_items=ITEMS, num_cold=COLD, num_users=USERS)
    write_progress(folders.rat, Progress(9, 6, 0.3, 0.1))
    write_progress(folders.vanilla, Progress(21, 1, 0.05, 0.1))
    write_progress(folders.baselines / "llm_init", Progress(9, 7, 0.2, 0.1))
    (tmp_path / "evaluate").mkdir()
    summary = evaluate.run(CONFIG, RAT, SEED, folders, raw, tmp_path / "evaluate")
    figures = read_figures(tmp_path / "evaluate")
    fault = "validation NDCG@10 0.0500 after 21 epochs is not above that of the most popular items, 0.1000"

    assert [(one.model, one.epochs, one.best_epoch, one.fault) for one in figures.trainings] == [
        ("llmemb", 9, 6, None),
        ("vanilla", 21, 1, fault),
        ("llm_init", 9, 7, None),
    ]
    assert (figures.trainings[0].validation_ndcg, figures.trainings[0].popular_ndcg) == (0.3, 0.1)
    assert {one.baseline for one in figures.comparisons} == set(MODELS) - {"llmemb", "vanilla"}
    assert {one.model for one in figures.figures} == set(MODELS)
    assert summary.endswith(f"; WARNING: vanilla did not converge: {fault}")


def test_bounds_are_those_of_the_dataset(evaluated: Evaluated) -> None:
    """Items are counted without the cold ones, users as the test has them."""
    bounds = {group.group: group for group in evaluated.figures.group_bounds}

    assert bounds["tail"].high == evaluated.figures.tail_max_train_count
    assert bounds["tail"].members + bounds["head"].members == ITEMS - COLD
    assert bounds["tail_users"].members + bounds["head_users"].members == len(evaluated.dataset.test.rows)


def test_negatives_are_never_what_the_user_met(evaluated: Evaluated, tmp_path: Path) -> None:
    """With as many negatives as there are items left, most popular's sampled rank is its rank among those left."""
    many = Evaluated(tmp_path, CONFIG.model_copy(update={"num_negatives": 2000, "baselines": False}))
    dataset, frame = many.dataset, many.predictions
    rows = frame.filter(pl.col("model") == "popular", pl.col("split") == "cold")
    for user, target, rank in rows.select("user_id", "target_item_id", "rank_sampled").iter_rows():
        # Every item but the user's own is drawn many times: the cold target has none behind it but cold ones.
        left = np.setdiff1d(np.arange(ITEMS), dataset.interacted[user])
        ahead = (dataset.train_counts[left] > 0).mean() * 2000
        assert int(target) in dataset.interacted[user]
        assert rank == pytest.approx(1 + ahead, abs=2000 * ((dataset.train_counts[left] == 0).mean() + 0.05))


def test_baselines_can_be_left_out(tmp_path: Path) -> None:
    """Those that cost training are not read; large catalogues get ItemKNN."""
    few = Evaluated(tmp_path, CONFIG.model_copy(update={"baselines": False}))

    assert few.predictions["model"].unique(maintain_order=True).to_list() == [
        model for model in MODELS if model not in ("vanilla_bce", "llm_init")
    ]
    assert few.summary.startswith("full NDCG@10: llmemb 0.")


def test_large_catalogue_gets_item_knn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the size of EASE the neighbourhood baseline is another, under its own name."""
    monkeypatch.setattr(baselines, "EASE_ITEMS", 10)
    models = Evaluated(tmp_path).predictions["model"].unique().to_list()

    assert "item_knn" in models
    assert "ease" not in models


@pytest.mark.parametrize("exclude", [True, False])
def test_history_is_recommended_where_the_config_lets_it(tmp_path: Path, exclude: bool) -> None:
    """`exclude_history` holds for ranks and recommendations alike."""
    frame = Evaluated(tmp_path, CONFIG.model_copy(update={"exclude_history": exclude})).recommendations
    ours = frame.filter(pl.col("model") == "llmemb")
    repeated = ours.filter(pl.col("item_ids").list.set_intersection("history").list.len() > 0)

    assert (repeated.height == 0) == exclude


def test_second_run_gives_the_same_figures(evaluated: Evaluated, tmp_path: Path) -> None:
    """Nothing but the seed decides: negatives, intervals and p-values are the same."""
    again = Evaluated(tmp_path)

    assert again.figures == evaluated.figures
    assert again.predictions.equals(evaluated.predictions)
