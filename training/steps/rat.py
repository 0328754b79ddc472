"""`rat`: recommendation adaptation training: the vanilla recommender, then the adapted one."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.projection import fit_reduction, fold
from llmemb.sequence_models import build_sequence_model
from training.config import RatConfig
from training.dataset import Dataset, read_dataset
from training.fitting import FitOptions, Recommender, fit
from training.item_tables import AdaptedTable, IdTable
from training.losses import alignment_loss
from training.recommenders import VANILLA, TrainedRecommender, read_recommender, write_recommender
from training.seeds import derive_seed

Array = NDArray[np.float32]


def run(config: RatConfig, seed: int, dataset_folder: Path, raw: Array, output: Path, logs: Path) -> str:
    """Train both recommenders and write them; return the summary line.

    Args:
        config: this step's section.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        output: the step's folder.
        logs: takes the TensorBoard logs.
    """
    dataset = read_dataset(dataset_folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options = FitOptions(
        loss=config.loss,
        mask_share=config.mask_share,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        max_epochs=config.max_epochs,
        patience=config.patience,
        seed=derive_seed(seed, "rat"),
    )
    vanilla_line = _train_vanilla(config, options, dataset, output / VANILLA, logs / VANILLA, device)
    collaborative = torch.from_numpy(read_recommender(output / VANILLA, config.model).semantic).to(device)
    adapted_line = _train_adapted(config, options, dataset, raw, collaborative, output, logs / "llmemb", device)
    return f"{config.model.name}, validation NDCG@10: vanilla {vanilla_line}, llmemb {adapted_line}"


def _train_vanilla(
    config: RatConfig, options: FitOptions, dataset: Dataset, output: Path, logs: Path, device: torch.device
) -> str:
    output.mkdir(exist_ok=True)
    torch.manual_seed(derive_seed(options.seed, VANILLA, "weights"))
    table = IdTable(dataset.num_warm, config.model.dim)
    recommender = Recommender(table, build_sequence_model(config.model)).to(device)
    checkpoint = output / "checkpoint.safetensors"
    progress = fit(VANILLA, recommender, dataset.train, dataset.validation, options, checkpoint, logs)
    write_recommender(output, TrainedRecommender(recommender.model, recommender.item_embeddings(), None, None))
    return f"{progress.best_score:.4f} (epoch {progress.best_epoch} of {progress.epoch})"


def _train_adapted(
    config: RatConfig,
    options: FitOptions,
    dataset: Dataset,
    raw: Array,
    collaborative: Tensor,
    output: Path,
    logs: Path,
    device: torch.device,
) -> str:
    # The cold items take no part in the fit of the reduction either.
    reduction = fit_reduction(raw[: dataset.num_warm], config.components, config.reduction)
    torch.manual_seed(derive_seed(options.seed, "llmemb", "weights"))
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
        "llmemb",
        recommender,
        dataset.train,
        dataset.validation,
        options,
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
    return f"{progress.best_score:.4f} (epoch {progress.best_epoch} of {progress.epoch})"
