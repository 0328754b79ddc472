"""`rat`: recommendation adaptation training, after `vanilla`: adapter and sequence model, aligned to its item table."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Selection
from training.config import RatConfig, SelectConfig
from training.config.seeds import derive_generator
from training.data.dataset import Dataset, read_dataset
from training.data.pseudo_cold import hold_out
from training.rat.adapting import adapt
from training.rat.checkpoint import write_progress
from training.rat.recommenders import read_item_embeddings, write_recommender
from training.rat.score_weights import ScoreWeights, choose_weights, given_weights, weighed
from training.rat.selection import write_selections

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
        config: this step's section; of it only what the parts of the score weigh may be left open.
        select: the candidates.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        vanilla_folder: of `vanilla`, whose item table is the collaborative one.
        output: the step's folder.
        logs: takes the TensorBoard logs.
    """
    dataset = read_dataset(dataset_folder)
    collaborative = read_item_embeddings(vanilla_folder) if config.alignment.alpha else None
    selections: list[Selection] = []
    if (weights := given_weights(config)) is None:
        weights, selections = _choose_weights(config, select, seed, dataset, raw, collaborative, output, logs)
    recommender, progress = adapt(config, seed, dataset, raw, collaborative, output / "checkpoint.safetensors", logs)
    write_selections(output, selections)
    write_recommender(output, weighed(recommender, weights, dataset))
    write_progress(output, progress)
    return (
        f"{config.model.name}, {progress}, gamma {weights.gamma:.3g}, delta {weights.delta:g}, "
        f"new items scaled by {weights.new_item_scale:g}{progress.warning(config.patience)}"
    )


def _choose_weights(
    config: RatConfig,
    select: SelectConfig,
    seed: int,
    dataset: Dataset,
    raw: Array,
    collaborative: Array | None,
    output: Path,
    logs: Path,
) -> tuple[ScoreWeights, list[Selection]]:
    """Choose what the configuration leaves open, on a fold that is trained for it; arguments as in `run`."""
    fold = hold_out(
        dataset, select.pseudo_cold_share, select.pseudo_cold_interactions, derive_generator(seed, "rat", "pseudo-cold")
    )
    # The fold has fewer items. What is too wide for all of them is an error of the training that follows.
    most = min(fold.dataset.num_warm - 1, raw.shape[1])
    assert config.components != "auto"
    term = config.semantic_term.model_copy(update={"components": min(config.semantic_term.components, most)})
    narrowed = config.model_copy(update={"components": min(config.components, most), "semantic_term": term})
    recommender, _ = adapt(
        narrowed,
        seed,
        fold.dataset,
        raw[fold.order],
        None if collaborative is None else collaborative[fold.order[: fold.dataset.num_warm]],
        output / "fold.safetensors",
        logs / "fold",
    )
    return choose_weights(config, select, recommender, fold)
