"""`evaluate`: every model ranks the test targets and the cold ones.

predictions.parquet      one row a model and target, from which every figure is made
figures.json, table.md   the figures
recommendations.parquet  what `llmemb` recommends to each user of the test, by the index that serves
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.index import ItemIndex
from llmemb.projection import fit_reduction
from llmemb.session import session_vectors
from training.baselines import popular_scorer, semantic_knn_scorer, warm_only
from training.config import EvaluateConfig, RatConfig
from training.dataset import Dataset, Targets, read_dataset
from training.progress import bar
from training.ranking import Scorer, draw_negatives, embedding_scorer, full_ranks, sampled_ranks
from training.recommenders import LLMEMB, VANILLA, TrainedRecommender, read_recommender
from training.report import make_figures, write_report
from training.seeds import derive_generator
from training.splitting import tail_threshold

RECOMMENDED = 10


def run(
    config: EvaluateConfig,
    rat_config: RatConfig,
    seed: int,
    dataset_folder: Path,
    raw: NDArray[np.float32],
    rat_folder: Path,
    vanilla_folder: Path,
    output: Path,
) -> str:
    """Rank, write the report, and return the summary line.

    Args:
        config: this step's section.
        rat_config: the section the recommenders were trained by.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        rat_folder: of `rat`.
        vanilla_folder: of `vanilla`.
        output: the step's folder.
    """
    dataset = read_dataset(dataset_folder)
    ours = read_recommender(rat_folder, rat_config.model)
    vanilla = read_recommender(vanilla_folder, rat_config.model)
    reduction = fit_reduction(raw[: dataset.num_warm], rat_config.components, "whiten")
    scorers: dict[str, Scorer] = {
        LLMEMB: embedding_scorer(ours.model, ours.item_embeddings),
        VANILLA: warm_only(embedding_scorer(vanilla.model, vanilla.item_embeddings), dataset.num_items),
        "semantic_knn": semantic_knn_scorer(reduction.apply(raw), config.knn_history),
        "popular": popular_scorer(dataset.train_counts),
    }
    predictions = _predict(config, seed, dataset, scorers)
    threshold = tail_threshold(dataset.train_counts[: dataset.num_warm], config.tail_share)
    figures = make_figures(predictions, threshold, config.ks)
    write_report(output, predictions, figures)
    _recommend(dataset, ours, config.exclude_history).write_parquet(output / "recommendations.parquet")
    shown = {
        figure.model: figure.value
        for figure in figures.figures
        if (figure.protocol, figure.group, figure.metric) == ("full", "all", "ndcg@10")
    }
    return "full NDCG@10: " + ", ".join(f"{model} {value:.4f}" for model, value in shown.items())


def _predict(config: EvaluateConfig, seed: int, dataset: Dataset, scorers: dict[str, Scorer]) -> pl.DataFrame:
    frames = []
    splits = {"test": dataset.test, "cold": dataset.cold_targets}
    with bar("evaluate", " models", len(scorers) * len(splits)) as progress:
        for split, targets in splits.items():
            negatives = draw_negatives(
                targets,
                [dataset.interacted[user] for user in targets.user_ids],
                dataset.num_items,
                config.num_negatives,
                derive_generator(seed, "evaluate", "negatives", split),
            )
            for model, scorer in scorers.items():
                frames.append(
                    _rows(dataset, targets).select(
                        pl.lit(model).alias("model"),
                        pl.lit(seed).alias("seed"),
                        pl.lit(split).alias("split"),
                        "user_id",
                        "target_item_id",
                        "target_train_count",
                        rank_full=full_ranks(scorer, targets, exclude_history=config.exclude_history),
                        rank_sampled=sampled_ranks(scorer, targets, negatives),
                    )
                )
                progress.update()
    return pl.concat(frames)


def _rows(dataset: Dataset, targets: Targets) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": targets.user_ids,
            "target_item_id": dataset.items["item_id"].gather(targets.rows),
            "target_train_count": dataset.train_counts[targets.rows],
        },
        schema_overrides={"user_id": pl.String},
    )


def _recommend(dataset: Dataset, ours: TrainedRecommender, exclude_history: bool) -> pl.DataFrame:
    """Recommend to each test user with the index of the bundle: `user_id`, `history`, `item_ids`, `scores`."""
    embeddings = ours.item_embeddings
    targets = dataset.test
    item_ids = dataset.items["item_id"].to_list()
    sessions = session_vectors(ours.model, [embeddings[rows] for rows in targets.histories])
    excluded = [set(rows.tolist()) if exclude_history else set() for rows in targets.histories]
    hits = ItemIndex.build(embeddings).search(sessions, RECOMMENDED, excluded)
    return pl.DataFrame(
        {
            "user_id": targets.user_ids,
            "history": [[item_ids[row] for row in rows] for rows in targets.histories],
            "item_ids": [[item_ids[row] for row in hit.rows] for hit in hits],
            "scores": [hit.scores.tolist() for hit in hits],
        }
    )
