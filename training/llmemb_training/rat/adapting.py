"""Recommendation adaptation training: train an adapter and a sequence model on raw embeddings; for `rat` and `select`.

`N` items, the first `W` of them warm; `h` the LLM's width, `d` the recommender's.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb.scoring.projection import fit_reduction, fold
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import RatConfig, SemanticTermConfig
from llmemb_training.config.seeds import derive_seed
from llmemb_training.data.dataset import Dataset
from llmemb_training.rat.checkpoint import Progress
from llmemb_training.rat.fitting import Recommender, Regulariser, fit
from llmemb_training.rat.item_tables import AdaptedTable
from llmemb_training.rat.losses import alignment_loss, logit_adjustment
from llmemb_training.rat.recommenders import LLMEMB, TrainedRecommender
from llmemb_training.rat.semantic_profile import SemanticProfile

Array = NDArray[np.float32]
START_GAMMA = 4.0
"""Initial value of gamma when gamma is learned (`rat.semantic_term.gamma = "auto"`)."""


def adapt(
    config: RatConfig,
    seed: int,
    dataset: Dataset,
    raw: Array,
    collaborative: Array | None,
    checkpoint: Path,
    logs: Path,
) -> tuple[TrainedRecommender, Progress]:
    """Train an adapter and a sequence model on raw embeddings; resume from `checkpoint` if it exists.

    Args:
        config: how to train; no option is "auto", except gamma.
        seed: the configuration's seed.
        dataset: what to train on.
        raw: `(N, h)`.
        collaborative: the item table `(W, d)` to align to; None: no alignment.
        checkpoint: see `llmemb_training.rat.fitting.fit`.
        logs: folder for the TensorBoard logs.

    Returns:
        The recommender, with the semantic term used in its training, and the training progress.
    """
    assert config.components != "auto"
    # The reduction is fitted on warm items only: cold items must stay unseen.
    reduction = fit_reduction(raw[: dataset.num_warm], config.components, config.reduction)
    torch.manual_seed(derive_seed(seed, LLMEMB, "weights"))
    table = AdaptedTable(reduction.apply(raw[: dataset.num_warm]), dataset.train_counts[: dataset.num_warm], config)
    term = _term(config.semantic_term, raw[: dataset.num_warm])
    profile = None if term is None else term.apply(raw)
    recommender = Recommender(
        table,
        build_sequence_model(config.model),
        _profile_module(config.semantic_term, term, profile, dataset.num_warm),
    )
    recommender.to("cuda" if torch.cuda.is_available() else "cpu")
    progress = fit(
        LLMEMB,
        recommender,
        dataset.train,
        dataset.validation,
        config,
        seed,
        checkpoint,
        logs,
        _aligner(config, table, collaborative),
        _adjustment(config, table, dataset),
    )
    projection = fold(reduction, table.layers())
    # Cold items have no residual: they are embedded like any new item.
    semantic = projection.apply(raw)
    residual = None
    if (learned := table.learned_residual()) is not None:
        residual = np.zeros_like(semantic)
        residual[: dataset.num_warm] = learned
        residual[dataset.train_counts == 0] = 0.0
    if recommender.profile is not None:
        term = recommender.profile.term()
    trained = TrainedRecommender(recommender.model.cpu(), semantic, residual, projection, config.scoring, term, profile)
    return trained, progress


def _term(config: SemanticTermConfig, warm: Array) -> SemanticTerm | None:
    """Return the semantic term with its initial gamma; None if it is disabled."""
    if config.gamma == 0:
        return None
    gamma = START_GAMMA if config.gamma == "auto" else config.gamma
    reduction = fit_reduction(warm, config.components, "whiten", "rat.semantic_term.components")
    return SemanticTerm(fold(reduction, []), gamma, config.history, config.decay)


def _profile_module(
    config: SemanticTermConfig, term: SemanticTerm | None, profile: Array | None, num_warm: int
) -> SemanticProfile | None:
    """Return the semantic term as a module for training; None if it is used in serving only."""
    if term is None or profile is None or not config.trained:
        return None
    return SemanticProfile(term, profile[:num_warm], learned=config.gamma == "auto")


def _adjustment(config: RatConfig, table: AdaptedTable, dataset: Dataset) -> Tensor | None:
    if config.logit_adjustment == 0:
        return None
    return logit_adjustment(dataset.train_counts[: dataset.num_warm], config.logit_adjustment).to(table.frozen.device)


def _aligner(config: RatConfig, table: AdaptedTable, collaborative: Array | None) -> Regulariser | None:
    if collaborative is None or config.alignment.alpha == 0:
        return None
    target_table = torch.from_numpy(collaborative).to(table.frozen.device)

    def align(rows: Tensor) -> Tensor:
        return config.alignment.alpha * alignment_loss(table.semantic(rows), target_table[rows], config.alignment)

    return align
