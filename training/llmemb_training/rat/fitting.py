"""The training loop of the vanilla and the adapted recommender.

`W` warm items, `M` predictions of a batch, `d` width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from llmemb.errors import DataError
from llmemb.scoring.session import PADDING
from llmemb.sequence_models import SequenceModel
from llmemb_training.config import RatConfig
from llmemb_training.config.seeds import derive_generator, derive_seed
from llmemb_training.data.dataset import Rows, Targets
from llmemb_training.evaluation.baselines import popular_scorer
from llmemb_training.evaluation.ranking import full_ranks, ndcg, validation_ndcg
from llmemb_training.rat.batches import Batch, Masking, cut_windows, iterate_batches
from llmemb_training.rat.checkpoint import Progress, load_checkpoint, save_checkpoint
from llmemb_training.rat.item_tables import ItemTable
from llmemb_training.rat.losses import build_loss
from llmemb_training.rat.semantic_profile import SemanticProfile
from llmemb_training.runs.progress import bar

Regulariser = Callable[[Tensor], Tensor]
"""Unique item rows of a batch's targets -> a term added to the loss."""


class Recommender(nn.Module):
    """An item table and a sequence model that are trained together, optionally with a semantic term.

    The scores are inner products of outputs `(M, D)` and scored items `(W, D)`. D is d without a semantic term, and
    d + q with one of width q.
    """

    def __init__(self, table: ItemTable, model: SequenceModel, profile: SemanticProfile | None = None) -> None:
        super().__init__()
        self.table = table
        self.model = model
        self.profile = profile

    def scored_items(self, table: Tensor) -> Tensor:
        """Return the table `(W, d)`, concatenated with the semantic profile vectors if there are any: `(W, D)`."""
        return table if self.profile is None else torch.cat([table, self.profile.vectors], dim=1)

    def predict(self, batch: Batch, table: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs `(M, D)` at the positions with a target, and these targets `(M,)`."""
        items = table[batch.inputs.clamp_min(0)]  # (B, L, d); the vectors of padding are never used
        present = batch.inputs != PADDING
        if batch.hidden is not None:
            items = self.model.hide(items, batch.hidden)
        outputs = self.model(items, present)
        predicting = batch.targets != PADDING
        chosen = outputs[predicting]
        if self.profile is not None:
            chosen = torch.cat([chosen, self.profile(batch)], dim=1)
        return chosen, batch.targets[predicting]

    @torch.inference_mode()
    def item_embeddings(self) -> NDArray[np.float32]:
        """Return the table `(W, d)` without dropout."""
        self.eval()
        table: NDArray[np.float32] = self.table().cpu().numpy()
        return table

    @torch.inference_mode()
    def item_vectors(self) -> NDArray[np.float32]:
        """Return the vectors of the scored items, `(W, D)`, without dropout."""
        self.eval()
        vectors: NDArray[np.float32] = self.scored_items(self.table()).cpu().numpy()
        return vectors

    def validate(self, validation: Targets) -> float:
        """Return NDCG@10 of the validation targets among the warm items, excluding the items of the history."""
        term = None if self.profile is None else self.profile.term()
        return validation_ndcg(self.model, self.item_vectors(), validation, term)


def fit(
    name: str,
    recommender: Recommender,
    train: Sequence[Rows],
    validation: Targets,
    config: RatConfig,
    seed: int,
    checkpoint: Path,
    log_folder: Path,
    regulariser: Regulariser | None = None,
    adjustment: Tensor | None = None,
) -> Progress:
    """Train with early stopping on validation NDCG@10; on return, `recommender` has its best state.

    A model first learns which items are popular and may stay on that plateau for some epochs, so early stopping is more
    patient there; see `Progress`. Training resumes from `checkpoint` if it exists, with the same result as an
    uninterrupted training.

    Args:
        name: name of the progress bar and the logs.
        recommender: trained in place.
        train: each user's training items.
        validation: targets ranked among the warm items after each epoch, excluding the items of the history.
        config: how to train.
        seed: the seed in the configuration.
        checkpoint: the checkpoint file, written after each epoch.
        log_folder: folder for the TensorBoard logs.
        regulariser: optional second term of the loss.
        adjustment: added to the items' scores in the loss, `(W,)`; see `llmemb_training.rat.losses.logit_adjustment`.

    Raises:
        DataError: no history has two items.
    """
    optimizer = torch.optim.AdamW(recommender.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    windows = cut_windows(train, recommender.model.spec.max_length, recommender.model.objective)
    if not windows:
        raise DataError("no user has two training items: there is nothing to learn from")
    best = {key: value.clone() for key, value in recommender.state_dict().items()}
    progress = Progress()
    if checkpoint.is_file():
        best, progress = load_checkpoint(checkpoint, recommender, optimizer)
    progress.popular_score = popular_ndcg(train, validation, len(recommender.item_embeddings()))
    with SummaryWriter(str(log_folder)) as log, bar(name, "epochs", config.max_epochs) as epochs:
        epochs.update(progress.epoch)
        while progress.epoch < config.max_epochs and not progress.is_out_of_patience(config.patience):
            loss = train_epoch(
                name, recommender, windows, optimizer, config, seed, progress.epoch, regulariser, adjustment
            )
            score = recommender.validate(validation)
            progress.epoch += 1
            if score > progress.best_score:
                progress.best_epoch, progress.best_score = progress.epoch, score
                best = {key: value.clone() for key, value in recommender.state_dict().items()}
            save_checkpoint(checkpoint, recommender, best, optimizer, progress)
            log.add_scalar("loss/train", loss, progress.epoch)
            log.add_scalar("ndcg@10/validation", score, progress.epoch)
            epochs.set_figures(loss=loss, ndcg=score)
            epochs.update()
    recommender.load_state_dict(best)
    recommender.eval()
    return progress


def popular_ndcg(train: Sequence[Rows], validation: Targets, num_warm: int) -> float:
    """Return NDCG@10 of the validation targets when items are ranked by their number of training interactions.

    Args:
        train: each user's training items.
        validation: targets ranked among the warm items, excluding the items of the history; the result is 0 without
            targets.
        num_warm: W.
    """
    counts = np.bincount(np.concatenate(train), minlength=num_warm)
    ranks = full_ranks(popular_scorer(counts), validation, num_warm, exclude_history=True)
    return float(ndcg(ranks, 10).mean()) if len(ranks) else 0.0


def train_epoch(
    name: str,
    recommender: Recommender,
    windows: Sequence[Rows],
    optimizer: torch.optim.Optimizer,
    config: RatConfig,
    seed: int,
    epoch: int,
    regulariser: Regulariser | None = None,
    adjustment: Tensor | None = None,
) -> float:
    """Train for one epoch; return the mean loss. Arguments as in `fit`; `windows` come from `cut_windows`."""
    recommender.train()
    loss_of = build_loss(config, adjustment)
    # The random draws of an epoch depend only on its number, so that a resumed training gives the same result.
    torch.manual_seed(derive_seed(seed, name, "dropout", epoch))
    generator = derive_generator(seed, name, "batches", epoch)
    device = next(recommender.parameters()).device
    losses = []
    masking = Masking(config.mask_share, config.truncated_share)
    for batch in iterate_batches(windows, recommender.model.objective, config.batch_size, masking, generator):
        table = recommender.table()
        outputs, targets = recommender.predict(batch.to(device), table)
        loss = loss_of(outputs, recommender.scored_items(table), targets)
        if regulariser is not None:
            loss = loss + regulariser(targets.unique())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())
