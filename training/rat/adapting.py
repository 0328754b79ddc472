"""Recommendation adaptation training itself: from raw embeddings to an adapted recommender; `rat` and `select` use it.

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
from training.config import RatConfig, SemanticTermConfig
from training.config.seeds import derive_seed
from training.data.dataset import Dataset
from training.rat.checkpoint import Progress
from training.rat.fitting import Recommender, Regulariser, fit
from training.rat.item_tables import AdaptedTable
from training.rat.losses import alignment_loss, logit_adjustment
from training.rat.recommenders import LLMEMB, TrainedRecommender
from training.rat.semantic_profile import SemanticProfile

Array = NDArray[np.float32]
START_GAMMA = 4.0
"""From which an open gamma is learned."""


def adapt(
    config: RatConfig,
    seed: int,
    dataset: Dataset,
    raw: Array,
    collaborative: Array | None,
    checkpoint: Path,
    logs: Path,
) -> tuple[TrainedRecommender, Progress]:
    """Train an adapter and a sequence model on raw embeddings; goes on from `checkpoint` where it exists.

    Args:
        config: how to train; nothing in it is left open.
        seed: the configuration's seed.
        dataset: what to train on.
        raw: `(N, h)`.
        collaborative: the table `(W, d)` to align to, None where there is no alignment.
        checkpoint: see `training.rat.fitting.fit`.
        logs: takes the TensorBoard logs.

    Returns:
        The recommender, with the semantic term that it was trained beside, and how the training went.
    """
    assert config.components != "auto"
    # The cold items take no part in the fit of the reduction either.
    reduction = fit_reduction(raw[: dataset.num_warm], config.components, config.reduction)
    torch.manual_seed(derive_seed(seed, LLMEMB, "weights"))
    table = AdaptedTable(reduction.apply(raw[: dataset.num_warm]), dataset.train_counts[: dataset.num_warm], config)
    term = _term(config.semantic_term, raw[: dataset.num_warm])
    profile = None if term is None else term.apply(raw)
    recommender = Recommender(
        table, build_sequence_model(config.model), _beside(config.semantic_term, term, profile, dataset.num_warm)
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
    # Cold items have no residual; they are projected as any new item will be.
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
    """Return the semantic term at the gamma that training starts from; None where there is none."""
    if config.gamma == 0:
        return None
    gamma = START_GAMMA if config.gamma == "auto" else config.gamma
    reduction = fit_reduction(warm, config.components, "whiten", "rat.semantic_term.components")
    return SemanticTerm(fold(reduction, []), gamma, config.history, config.decay)


def _beside(
    config: SemanticTermConfig, term: SemanticTerm | None, profile: Array | None, num_warm: int
) -> SemanticProfile | None:
    """Return the term as a part of the training; None where it is left to the serving alone."""
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
    towards = torch.from_numpy(collaborative).to(table.frozen.device)

    def align(rows: Tensor) -> Tensor:
        return config.alignment.alpha * alignment_loss(table.semantic(rows), towards[rows], config.alignment)

    return align
