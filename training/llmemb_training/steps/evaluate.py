"""`evaluate`: rank the test targets and the cold targets with every model.

predictions.parquet      one row per model and target; all metrics except the catalogue metrics are computed from it
recommendations.parquet  one row per model and test user: the ten best items that are not in the history, and for
                         `llmemb` the history itself
figures.json, table.md   the metrics
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.files import write_text_atomically
from llmemb.scoring.projection import fit_reduction
from llmemb_training.config import EvaluateConfig, RatConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset, Targets, read_dataset
from llmemb_training.data.splitting import tail_threshold
from llmemb_training.evaluation.baselines import (
    LLM_INIT,
    collaborative_scorer,
    other_vanilla,
    popular_scorer,
    semantic_knn_scorer,
    warm_only,
)
from llmemb_training.evaluation.figures import Figures, Training, write_figures
from llmemb_training.evaluation.grouping import group_bounds
from llmemb_training.evaluation.measuring import Resampling, measure, measure_catalogue
from llmemb_training.evaluation.ranking import Ranking, Scorer, draw_negatives, embedding_scorer, rank_all_ways
from llmemb_training.evaluation.tables import make_tables
from llmemb_training.rat.checkpoint import read_progress
from llmemb_training.rat.recommenders import LLMEMB, VANILLA, read_recommender
from llmemb_training.runs.progress import bar

RECOMMENDED = 10
PREDICTIONS_FILE = "predictions.parquet"
RECOMMENDATIONS_FILE = "recommendations.parquet"
TABLE_FILE = "table.md"


@dataclass(frozen=True, slots=True)
class Folders:
    """Output folders of the steps before `evaluate`; `baselines` is read only if the baselines are trained."""

    dataset: Path
    vanilla: Path
    rat: Path
    baselines: Path


def run(
    config: EvaluateConfig,
    rat_config: RatConfig,
    seed: int,
    folders: Folders,
    raw: NDArray[np.float32],
    output: Path,
) -> str:
    """Rank, write the metrics, and return the summary line.

    Args:
        config: the section `evaluate`.
        rat_config: the section `rat`, which the recommenders were trained with.
        seed: the seed in the configuration.
        folders: output folders of the steps before.
        raw: raw embeddings `(N, h)` from `embed`.
        output: the step's folder.
    """
    dataset = read_dataset(folders.dataset)
    predictions, tests = rank(config, seed, dataset, _scorers(config, rat_config, dataset, folders, raw))
    predictions.write_parquet(output / PREDICTIONS_FILE)
    _recommendations(dataset, tests).write_parquet(output / RECOMMENDATIONS_FILE)
    trainings = _trainings(config, rat_config, folders)
    figures = make_figures(config, seed, dataset, predictions, tests, trainings)
    write_figures(output, figures)
    write_text_atomically(output / TABLE_FILE, make_tables(figures))
    shown = {
        figure.model: figure.value
        for figure in figures.figures
        if (figure.protocol, figure.group, figure.metric) == ("full", "all", "ndcg@10")
    }
    summary = "full NDCG@10: " + ", ".join(f"{model} {value:.4f}" for model, value in shown.items())
    return summary + "".join(f"; WARNING: {model} did not converge: {fault}" for model, fault in figures.faults.items())


def _scorers(
    config: EvaluateConfig, rat_config: RatConfig, dataset: Dataset, folders: Folders, raw: NDArray[np.float32]
) -> dict[str, Scorer]:
    """Return every model by its name."""
    places = {LLMEMB: folders.rat, VANILLA: folders.vanilla}
    if config.baselines:
        places |= {name: folders.baselines / name for name in (other_vanilla(rat_config.loss)[0], LLM_INIT)}
    trained = {name: trained_scorer(folder, rat_config, dataset.num_items) for name, folder in places.items()}
    return trained | untrained_scorers(config, rat_config, dataset, raw)


def untrained_scorers(
    config: EvaluateConfig, rat_config: RatConfig, dataset: Dataset, raw: NDArray[np.float32]
) -> dict[str, Scorer]:
    """Return the baselines without gradient training, by name."""
    name, collaborative = collaborative_scorer(dataset.train, dataset.num_warm, config.ease_regularisation)
    scorers = {name: warm_only(collaborative, dataset.num_items)}
    assert rat_config.components != "auto"
    # At least as wide as the reductions of the adapted recommender.
    term = rat_config.semantic_term
    widest = rat_config.components if term.gamma == 0 else max(rat_config.components, term.components)
    # `rat.reduction` may keep more components than whitening can.
    components = min(widest, dataset.num_warm - 1, raw.shape[1])
    reduction = fit_reduction(raw[: dataset.num_warm], components, "whiten")
    scorers["semantic_knn"] = semantic_knn_scorer(reduction.apply(raw), config.knn_history, config.knn_decay)
    scorers["popular"] = popular_scorer(dataset.train_counts)
    return scorers


def _trainings(config: EvaluateConfig, rat_config: RatConfig, folders: Folders) -> tuple[Training, ...]:
    """Return the training summaries of the models that have one."""
    places = {LLMEMB: folders.rat, VANILLA: folders.vanilla}
    if config.baselines:
        places |= {name: folders.baselines / name for name in (other_vanilla(rat_config.loss)[0], LLM_INIT)}
    trainings = []
    for model, folder in places.items():
        progress = read_progress(folder)
        if progress is not None:
            trainings.append(
                Training(
                    model=model,
                    epochs=progress.epoch,
                    best_epoch=progress.best_epoch,
                    validation_ndcg=progress.best_score,
                    popular_ndcg=progress.popular_score,
                    fault=progress.fault(rat_config.patience),
                )
            )
    return tuple(trainings)


def trained_scorer(folder: Path, rat_config: RatConfig, num_items: int) -> Scorer:
    """Return the scorer of a trained recommender; without vectors of cold items it cannot rank them."""
    recommender = read_recommender(folder, rat_config.model)
    scorer = embedding_scorer(
        recommender.model, recommender.item_vectors, recommender.semantic_term, recommender.history_vectors
    )
    return scorer if len(recommender.semantic) == num_items else warm_only(scorer, num_items)


def rank(
    config: EvaluateConfig, seed: int, dataset: Dataset, scorers: Mapping[str, Scorer]
) -> tuple[pl.DataFrame, dict[str, Ranking]]:
    """Return the predictions, as in `predictions.parquet`, and each model's ranking of the test targets.

    Args:
        config: the section `evaluate`.
        seed: the seed in the configuration.
        dataset: the dataset with the test and cold targets.
        scorers: all models by name.
    """
    frames = []
    tests = {}
    splits = {"test": dataset.test, "cold": dataset.cold_targets}
    with bar("evaluate", "models", len(scorers) * len(splits)) as progress:
        for split, targets in splits.items():
            negatives = draw_negatives(
                targets,
                [dataset.interacted[user] for user in targets.user_ids],
                dataset.num_items,
                config.num_negatives,
                derive_generator(seed, "evaluate", "negatives", split),
            )
            rows = _rows(dataset, targets)
            for model, scorer in scorers.items():
                ranking = rank_all_ways(
                    scorer,
                    targets,
                    negatives,
                    dataset.num_items,
                    exclude_history=config.exclude_history,
                    best=RECOMMENDED,
                    pool_start=dataset.num_warm if split == "cold" else None,
                )
                frames.append(
                    rows.select(
                        pl.lit(model).alias("model"),
                        pl.lit(seed).alias("seed"),
                        pl.lit(split).alias("split"),
                        pl.all(),
                        rank_full=ranking.full,
                        rank_sampled=ranking.sampled,
                        rank_among_cold=pl.lit(ranking.pool, dtype=pl.Int64) if ranking.pool is None else ranking.pool,
                    )
                )
                if split == "test":
                    tests[model] = ranking
                progress.update()
    return pl.concat(frames), tests


def _rows(dataset: Dataset, targets: Targets) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": targets.user_ids,
            "target_item_id": dataset.items["item_id"].gather(targets.rows),
            "target_train_count": dataset.train_counts[targets.rows],
            "history_length": np.array([len(rows) for rows in targets.histories], dtype=np.int64),
        },
        schema_overrides={"user_id": pl.String},
    )


def _recommendations(dataset: Dataset, tests: Mapping[str, Ranking]) -> pl.DataFrame:
    """Return `model`, `user_id`, `history` (`llmemb` only), `item_ids` and `scores`, best first."""
    ids = dataset.items["item_id"].to_numpy()
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "model": pl.String,
        "user_id": pl.String,
        "history": pl.List(pl.String),
        "item_ids": pl.List(pl.String),
        "scores": pl.List(pl.Float32),
    }
    frames = []
    for model, ranking in tests.items():
        kept = [rows >= 0 for rows in ranking.best_rows]
        histories = [ids[rows].tolist() if model == LLMEMB else None for rows in dataset.test.histories]
        columns = {
            "model": [model] * len(kept),
            "user_id": dataset.test.user_ids,
            "history": histories,
            "item_ids": [ids[rows[k]].tolist() for rows, k in zip(ranking.best_rows, kept, strict=True)],
            "scores": [scores[k].tolist() for scores, k in zip(ranking.best_scores, kept, strict=True)],
        }
        frames.append(pl.DataFrame(columns, schema=schema))
    return pl.concat(frames)


def make_figures(
    config: EvaluateConfig,
    seed: int,
    dataset: Dataset,
    predictions: pl.DataFrame,
    tests: Mapping[str, Ranking],
    trainings: tuple[Training, ...] = (),
) -> Figures:
    """Return the metrics of the output of `rank`; comparisons only if `llmemb` is one of the models."""
    warm_counts = dataset.train_counts[: dataset.num_warm]
    threshold = tail_threshold(warm_counts, config.tail_share)
    lengths = np.array([len(rows) for rows in dataset.test.histories], dtype=np.int64)
    bounds = group_bounds(warm_counts, lengths, config.tail_share)
    resampling = Resampling(bootstrap_samples=config.bootstrap_samples, confidence=config.confidence, seed=seed)
    figures, comparisons = measure(predictions, bounds, config.ks, LLMEMB, resampling)
    best = {model: ranking.best_rows for model, ranking in tests.items()}
    # A gain over a baseline that did not converge is meaningless.
    faulty = {training.model for training in trainings if training.fault is not None}
    return Figures(
        seed=seed,
        tail_max_train_count=threshold,
        confidence=config.confidence,
        bootstrap_samples=config.bootstrap_samples,
        group_bounds=bounds,
        figures=(*figures, *measure_catalogue(best, dataset.train_counts <= threshold)),
        comparisons=tuple(comparison for comparison in comparisons if comparison.baseline not in faulty),
        trainings=trainings,
    )
