"""`rat`: recommendation adaptation training, after `vanilla`: adapter and sequence model, aligned to its item table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Selection
from llmemb.projection import Projection
from training.adapting import adapt
from training.checkpoint import write_progress
from training.config import RatConfig, SelectConfig
from training.dataset import Dataset, read_dataset
from training.ranking import validation_ndcg
from training.recommenders import TrainedRecommender, read_recommender, write_recommender
from training.selection import choose_greatest, write_selections

Array = NDArray[np.float32]


def run(
    config: RatConfig,
    select: SelectConfig,
    seed: int,
    dataset_folder: Path,
    raw: Array,
    vanilla_folder: Path,
    output: Path,
    logs: Path,
) -> str:
    """Train the adapted recommender and write it; return the summary line.

    Args:
        config: this step's section; of it only gamma and the scale of new items may be left open.
        select: the candidates for them.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        vanilla_folder: of `vanilla`, whose item table is the collaborative one.
        output: the step's folder.
        logs: takes the TensorBoard logs.
    """
    dataset = read_dataset(dataset_folder)
    collaborative = read_recommender(vanilla_folder, config.model).item_embeddings
    recommender, progress = adapt(config, seed, dataset, raw, collaborative, output / "checkpoint.safetensors", logs)
    selections = []
    if config.semantic_term.gamma == "auto":
        selections.append(_choose_gamma(recommender, select, dataset))
        recommender = with_gamma(recommender, float(selections[-1].chosen))
    scale = config.new_item_scale
    if scale == "auto":
        selections.append(_choose_scale(recommender, select, dataset))
        scale = float(selections[-1].chosen)
    recommender = with_new_items_scaled(recommender, scale, dataset.train_counts > 0)
    write_selections(output, selections)
    write_recommender(output, recommender)
    write_progress(output, progress)
    gamma = recommender.semantic_term.gamma if recommender.semantic_term else 0
    return (
        f"{config.model.name}, {progress}, gamma {gamma:.3g}, new items scaled by {scale:g}"
        f"{progress.warning(config.patience)}"
    )


def with_gamma(recommender: TrainedRecommender, gamma: float) -> TrainedRecommender:
    """Return the recommender with its semantic term weighted by gamma; 0: without it."""
    assert recommender.semantic_term is not None
    if gamma == 0:
        return replace(recommender, semantic_term=None, profile=None)
    return replace(recommender, semantic_term=replace(recommender.semantic_term, gamma=gamma))


def with_new_items_scaled(
    recommender: TrainedRecommender, scale: float, known: NDArray[np.bool_]
) -> TrainedRecommender:
    """Return the recommender with a scaled projection, and residuals that leave the known items where they were.

    A residual makes an item's embedding longer, so that beside those with one an item without is outranked by its
    length alone. Only for scoring by inner product: cosine knows no length.

    Args:
        recommender: with a projection and residuals; without them nothing changes.
        scale: of the embeddings of items that are not known.
        known: which items have training interactions, `(N,)`.
    """
    if scale == 1.0 or recommender.residual is None or recommender.projection is None:
        return recommender
    factor = np.float32(scale)
    projection = Projection(recommender.projection.weight * factor, recommender.projection.bias * factor)
    semantic = recommender.semantic * factor
    residual = np.where(known[:, None], recommender.item_embeddings - semantic, np.float32(0))
    return replace(recommender, semantic=semantic, residual=residual, projection=projection)


def _choose_gamma(recommender: TrainedRecommender, select: SelectConfig, dataset: Dataset) -> Selection:
    """Choose the greatest gamma that costs the warm targets little; the one that the training learned is tried too."""
    assert recommender.semantic_term is not None
    learned = round(recommender.semantic_term.gamma, 3)
    return choose_greatest(
        "rat.semantic_term.gamma",
        [learned, *(gamma for gamma in select.gamma if gamma != learned)],
        lambda gamma: _validate(with_gamma(recommender, gamma), dataset, dataset.num_warm),
        select.gamma_cost,
    )


def _choose_scale(recommender: TrainedRecommender, select: SelectConfig, dataset: Dataset) -> Selection:
    """Choose the greatest scale that costs the warm targets little, the cold items standing among the candidates."""
    known = dataset.train_counts > 0

    def score(scale: float) -> float:
        return _validate(with_new_items_scaled(recommender, scale, known), dataset, dataset.num_items)

    useful = recommender.residual is not None and recommender.scoring == "dot"
    candidates = select.new_item_scale if useful else (1.0,)
    return choose_greatest("rat.new_item_scale", candidates, score, select.new_item_cost)


def _validate(recommender: TrainedRecommender, dataset: Dataset, num_items: int) -> float:
    """Return NDCG@10 of the validation targets among the first items, histories left out."""
    vectors = recommender.item_vectors[:num_items]
    return validation_ndcg(recommender.model, vectors, dataset.validation, recommender.semantic_term)
