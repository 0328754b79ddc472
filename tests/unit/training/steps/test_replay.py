"""`llmemb_training.steps.replay`: its figures against plain loops that build each item vector anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmemb.scoring.first_clicks import Background, ClickPrior, fit_residual, log_partition
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import session_vectors
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.config import RatConfig, ReplayConfig
from llmemb_training.data.dataset import Dataset, Targets, read_dataset, write_dataset
from llmemb_training.evaluation.ranking import Ranks, embedding_scorer, full_ranks, hit_rate, ndcg
from llmemb_training.evaluation.replay import ReplayFigures, ReplayRow, order_clicks, plan_replay, read_replay
from llmemb_training.rat.recommenders import TrainedRecommender, read_recommender, write_recommender
from llmemb_training.steps import replay
from tests.support.replayed import dataset_of, interactions_in_time

SEED = 5
SPEC = SequenceModelSpec(dim=8, max_length=6, layers=1)
RAT = RatConfig(model=SPEC)
CONFIG = ReplayConfig(ks=(0, 1, 3), later_clicks=4, prior=0.5, exposure=0.7, own_clicks=1.5, background_sessions=30)


def made_up(num_items: int, seed: int) -> TrainedRecommender:
    """An untrained recommender, with a residual and a semantic term."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    semantic, residual = random.normal(size=(2, num_items, SPEC.dim)).astype(np.float32)
    term = SemanticTerm(Projection(np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)), 1.5, 4, 0.5)
    profile = term.apply(random.normal(size=(num_items, 3)).astype(np.float32))
    return TrainedRecommender(
        build_sequence_model(SPEC).eval(), semantic, residual, semantic_term=term, profile=profile
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the steps before."""
    folder = tmp_path_factory.mktemp("replay")
    dataset = dataset_of(interactions_in_time(), 0.2)
    for name in ("prepare", "rat", "retrained"):
        (folder / name).mkdir()
    write_dataset(folder / "prepare", dataset)
    write_recommender(folder / "rat", made_up(dataset.num_items, 1))
    write_recommender(folder / "retrained", made_up(dataset.num_items, 2))
    return folder


def run(folder: Path, output: Path, config: ReplayConfig = CONFIG, **options: Any) -> ReplayFigures:
    output.mkdir(exist_ok=True)
    parts = (folder / "prepare", folder / "rat", folder / "retrained", output)
    replay.run(config, RAT, SEED, *parts, **{"exclude_history": True} | options)
    return read_replay(output)


def row(ranks: Ranks) -> tuple[float, float]:
    return float(hit_rate(ranks, 10).mean()), float(ndcg(ranks, 10).mean())


def later(row: ReplayRow) -> tuple[float, float]:
    return row.later_hr_at_10, row.later_ndcg_at_10


def ordinary(row: ReplayRow) -> tuple[float | None, float | None]:
    return row.ordinary_hr_at_10, row.ordinary_ndcg_at_10


def vectors_after(
    dataset: Dataset, recommender: TrainedRecommender, place: int, k: int, config: ReplayConfig = CONFIG
) -> np.ndarray:
    """The item vectors when the clicks before `place` have come, each cold item having learned from its first k."""
    clicks = order_clicks(dataset, SEED)
    vectors = recommender.item_vectors
    warm = vectors[: dataset.num_warm]
    known = [rows for rows in dataset.train if len(rows)]
    drawn = replay.derive_generator(SEED, "replay", "background").permutation(len(known))[:30]

    def sessions(histories: list[np.ndarray]) -> np.ndarray:
        return session_vectors(recommender.model, [vectors[rows] for rows in histories], recommender.semantic_term)

    others = sessions([known[i] for i in drawn])
    background = Background(others, log_partition(others, warm))
    prior = ClickPrior(config.prior, config.own_clicks)
    changed = vectors.copy()
    for item in range(dataset.num_warm, dataset.num_items):
        own = [i for i in range(place) if clicks.rows[i] == item][:k]
        if own:
            taken = sessions(clicks.targets(dataset, own).histories)
            exposures = int(clicks.exposures[own[-1]]) if config.exposures == "time" else clicks.interactions
            changed[item, : SPEC.dim] += fit_residual(
                taken,
                log_partition(taken, warm),
                background,
                vectors[item],
                SPEC.dim,
                exposures=config.exposure * exposures,
                prior=prior,
            )
    return changed


def rank_by(recommender: TrainedRecommender, vectors: np.ndarray, targets: Targets, *, exclude: bool = True) -> Ranks:
    """Rank with vectors that differ from those that the histories are read with."""

    def score(histories: Any) -> np.ndarray:
        kept = [recommender.item_vectors[rows] for rows in histories]
        return session_vectors(recommender.model, kept, recommender.semantic_term) @ vectors.T

    return full_ranks(score, targets, len(vectors), exclude_history=exclude)


@pytest.mark.parametrize("exposures", ["time", "all"])
def test_later_clicks_are_predicted_by_what_was_known_before_them(folder: Path, tmp_path: Path, exposures: str) -> None:
    """A plain loop over the clicks, which fits every item anew before each, comes to the same figures for each k."""
    config = CONFIG.model_copy(update={"exposures": exposures})
    figures = run(folder, tmp_path, config)
    dataset, recommender = read_dataset(folder / "prepare"), read_recommender(folder / "rat", SPEC)
    clicks, places = plan_replay(config, RAT, dataset, SEED)
    for line, k in zip(figures.rows, config.ks, strict=False):
        ranks = [
            rank_by(
                recommender, vectors_after(dataset, recommender, place, k, config), clicks.targets(dataset, [place])
            )
            for place in places
        ]
        assert later(line) == pytest.approx(row(np.concatenate(ranks)))
    assert figures.later_clicks == len(places) > 10
    assert len({line.later_ndcg_at_10 for line in figures.rows}) == len(figures.rows)


@pytest.mark.parametrize("exclude", [True, False])
def test_ordinary_test_is_ranked_by_all_that_was_learned(folder: Path, tmp_path: Path, exclude: bool) -> None:
    """New items stand among the candidates with their residuals; the history is left out where the option says so."""
    figures = run(folder, tmp_path, exclude_history=exclude)
    dataset, recommender = read_dataset(folder / "prepare"), read_recommender(folder / "rat", SPEC)
    end = len(order_clicks(dataset, SEED).rows)
    for line, k in zip(figures.rows, CONFIG.ks, strict=False):
        vectors = vectors_after(dataset, recommender, end, k)
        assert ordinary(line) == pytest.approx(row(rank_by(recommender, vectors, dataset.test, exclude=exclude)))
    assert figures.ordinary_targets == len(dataset.test.rows)


def test_frozen_line_is_the_recommender_as_it_is(folder: Path, tmp_path: Path) -> None:
    """And the last line another one, both ranked as `evaluate` does."""
    figures = run(folder, tmp_path)
    dataset = read_dataset(folder / "prepare")
    clicks, places = plan_replay(CONFIG, RAT, dataset, SEED)
    for name, line in (("rat", figures.rows[0]), ("retrained", figures.rows[-1])):
        read = read_recommender(folder / name, SPEC)
        scorer = embedding_scorer(read.model, read.item_vectors, read.semantic_term)
        for targets, found in ((clicks.targets(dataset, places), later(line)), (dataset.test, ordinary(line))):
            assert found == pytest.approx(row(full_ranks(scorer, targets, dataset.num_items, exclude_history=True)))
    assert [(line.model, line.clicks) for line in figures.rows] == [
        ("frozen", 0), ("first clicks", 1), ("first clicks", 3), ("trained anew", 3)
    ]  # fmt: skip


def test_table_has_a_line_for_each_row(folder: Path, tmp_path: Path) -> None:
    """Behind each figure its ratio to the frozen one, and below them what was measured; nothing else is left."""
    figures = run(folder, tmp_path)
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    frozen, first = figures.rows[:2]
    ratio = first.later_hr_at_10 / frozen.later_hr_at_10

    assert f"| frozen | 0 | {frozen.later_hr_at_10:.4f} | {frozen.later_ndcg_at_10:.4f} | " in table
    assert f"| first clicks | 1 | {first.later_hr_at_10:.4f} (x {ratio:.2f}) | " in table
    assert "The replay goes by the source's times." in table
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "table.md"]


def test_more_background_than_there_is_takes_all(folder: Path, tmp_path: Path) -> None:
    """A small data set has fewer training histories than the option asks for."""
    many, all_of_them = (
        run(folder, tmp_path / name, CONFIG.model_copy(update={"background_sessions": number}))
        for name, number in (("many", 10_000), ("all", 80))
    )

    assert many == all_of_them


def test_replay_without_ordinary_targets_has_the_later_ones(tmp_path: Path) -> None:
    """Where no user has three warm items there is no test; the table says so with a dash."""
    interactions = [
        (user, item, float(10 * user + step)) for user in range(60) for step, item in enumerate((user % 3, 3))
    ]
    seed = next(seed for seed in range(99) if dataset_of(interactions, 0.25, seed).items["item_id"][3] == "m3")
    dataset = dataset_of(interactions, 0.25, seed)
    for name in ("prepare", "rat", "retrained"):
        (tmp_path / name).mkdir()
    write_dataset(tmp_path / "prepare", dataset)
    for name in ("rat", "retrained"):
        write_recommender(tmp_path / name, made_up(dataset.num_items, 1))
    figures = run(tmp_path, tmp_path / "replay")

    assert figures.ordinary_targets == 0
    assert [ordinary(line) for line in figures.rows] == [(None, None)] * 4
    assert "| - | - |\n" in (tmp_path / "replay" / "table.md").read_text(encoding="utf-8")
    assert figures.later_clicks == 4
