"""`rat`: recommendation adaptation training, after `vanilla`: adapter and sequence model, aligned to its item table."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.projection import fit_reduction, fold
from llmemb.sequence_models import build_sequence_model
from training.config import RatConfig
from training.dataset import read_dataset
from training.fitting import Recommender, fit, fit_options
from training.item_tables import AdaptedTable
from training.losses import alignment_loss
from training.recommenders import LLMEMB, TrainedRecommender, read_recommender, write_recommender
from training.seeds import derive_seed

Array = NDArray[np.float32]


def run(
    config: RatConfig, seed: int, dataset_folder: Path, raw: Array, vanilla_folder: Path, output: Path, logs: Path
) -> str:
    """Train the adapted recommender and write it; return the summary line.

    Args:
        config: this step's section.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        vanilla_folder: of `vanilla`, whose item table is the collaborative one.
        output: the step's folder.
        logs: takes the TensorBoard logs.
    """
    dataset = read_dataset(dataset_folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    collaborative = torch.from_numpy(read_recommender(vanilla_folder, config.model).semantic).to(device)
    # The cold items take no part in the fit of the reduction either.
    reduction = fit_reduction(raw[: dataset.num_warm], config.components, config.reduction)
    torch.manual_seed(derive_seed(seed, LLMEMB, "weights"))
    table = AdaptedTable(
        reduction.apply(raw[: dataset.num_warm]),
        config.model.dim,
        with_residual=config.residual.mode == "all",
        residual_dropout=config.residual.dropout,
    )
    recommender = Recommender(table, build_sequence_model(config.model)).to(device)

    def align(rows: Tensor) -> Tensor:
        adapted = table.semantic(rows)
        return config.alignment.alpha * alignment_loss(adapted, collaborative[rows], config.alignment.temperature)

    progress = fit(
        LLMEMB,
        recommender,
        dataset.train,
        dataset.validation,
        fit_options(config, seed),
        output / "checkpoint.safetensors",
        logs,
        align if config.alignment.alpha > 0 else None,
    )
    projection = fold(reduction, table.layers())
    # Cold items have no residual; they are projected as any new item will be.
    semantic = projection.apply(raw)
    residual = None
    if table.residual is not None:
        residual = np.zeros_like(semantic)
        residual[: dataset.num_warm] = table.residual.detach().cpu().numpy()
        residual[dataset.train_counts == 0] = 0.0
    write_recommender(output, TrainedRecommender(recommender.model, semantic, residual, projection))
    return f"{config.model.name}, {progress}"
