"""`rat`: recommendation adaptation training of adapter and sequence model, aligned to the item table of `vanilla`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Selection
from llmemb_training.config import RatConfig, SelectConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.data.pseudo_cold import hold_out
from llmemb_training.rat.adapting import adapt
from llmemb_training.rat.checkpoint import write_progress
from llmemb_training.rat.recommenders import read_item_embeddings, write_recommender
from llmemb_training.rat.score_weights import ScoreWeights, choose_weights, given_weights, with_weights
from llmemb_training.rat.selection import write_selections

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
    """Train and write the adapted recommender; return the summary line.

    Args:
        config: the section `rat`; only the score weights may be "auto".
        select: the candidates for the score weights.
        seed: the seed in the configuration.
        dataset_folder: output of `prepare`.
        raw: raw embeddings `(N, h)` from `embed`.
        vanilla_folder: output of `vanilla`, with the collaborative item table.
        output: the step's folder.
        logs: folder for the TensorBoard logs.
    """
    dataset = read_dataset(dataset_folder)
    collaborative = read_item_embeddings(vanilla_folder) if config.alignment.alpha else None
    selections: list[Selection] = []
    if (weights := given_weights(config)) is None:
        weights, selections = _choose_weights(config, select, seed, dataset, raw, collaborative, output, logs)
    recommender, progress = adapt(config, seed, dataset, raw, collaborative, output / "checkpoint.safetensors", logs)
    write_selections(output, selections)
    write_recommender(output, with_weights(recommender, weights, dataset))
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
    """Choose the "auto" weights on a fold with its own training; arguments as in `run`."""
    fold = hold_out(
        dataset, select.pseudo_cold_share, select.pseudo_cold_interactions, derive_generator(seed, "rat", "pseudo-cold")
    )
    # The fold has fewer items, so reduce the widths to fit. A width too large for all items fails in the main training.
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
