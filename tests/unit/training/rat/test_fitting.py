"""`fitting` and `checkpoint`: models that learn, stop in time, and go on after an interruption."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmemb.errors import DataError
from llmemb.scoring.session import session_vectors
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import Rows, Targets
from llmemb_training.evaluation.ranking import hit_rate, rank_targets
from llmemb_training.rat.checkpoint import (
    PLATEAU_PATIENCE,
    Progress,
    checkpoint_progress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
    write_progress,
)
from llmemb_training.rat.fitting import Recommender, fit, popular_ndcg, train_epoch
from llmemb_training.rat.item_tables import AdaptedTable, IdTable
from llmemb_training.rat.losses import logit_adjustment

MODELS = ["sasrec", "gru4rec", "bert4rec"]
NUM_ITEMS = 12


def cycles(users: int, length: int = 6) -> list[Rows]:
    """Histories that go round the items: after item i always comes item i + 1."""
    return [np.array([(user + step) % NUM_ITEMS for step in range(length)]) for user in range(users)]


def targets_of(histories: list[Rows]) -> Targets:
    return Targets(
        user_ids=tuple(f"u{i}" for i in range(len(histories))),
        histories=[history[:-1] for history in histories],
        rows=np.array([history[-1] for history in histories]),
    )


VALIDATION = targets_of(cycles(NUM_ITEMS))


def recommender(
    name: str = "sasrec", *, seed: int = 0, adapted: bool = False, dropout: float = 0.0, table: str = "frozen"
) -> Recommender:
    torch.manual_seed(seed)
    spec = SequenceModelSpec.model_validate({"name": name, "dim": 16, "max_length": 6, "layers": 1, "dropout": dropout})
    reduced = np.random.default_rng(0).normal(size=(NUM_ITEMS, 8)).astype(np.float32)
    config = RatConfig.model_validate({"model": spec, "table": table})
    items = AdaptedTable(reduced, np.full(NUM_ITEMS, 20), config) if adapted else IdTable(NUM_ITEMS, 16)
    return Recommender(items, build_sequence_model(spec))


def options(**changes: Any) -> RatConfig:
    values: dict[str, Any] = {"batch_size": 8, "learning_rate": 1e-2, "max_epochs": 6, "patience": 6}
    return RatConfig.model_validate(values | changes)


def run(
    model: Recommender,
    folder: Path,
    regulariser: Callable[[Tensor], Tensor] | None = None,
    *,
    seed: int = 3,
    **changes: Any,
) -> Progress:
    checkpoint, logs = folder / "checkpoint.safetensors", folder / "logs"
    return fit("llmemb", model, cycles(40), VALIDATION, options(**changes), seed, checkpoint, logs, regulariser)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        *product(MODELS, ["softmax", "bce"]),
        # Not BERT4Rec, which learns too slowly by these for a test: 200 epochs do not reach what 60 do by the others.
        *product(["sasrec", "gru4rec"], ["sampled_softmax", "gbce"]),
    ],
)
def test_cycle_is_learnt(name: str, loss: str, tmp_path: Path) -> None:
    """Each sequence model with each loss finds what always comes next."""
    model = recommender(name)
    # BERT4Rec learns from the masked positions alone.
    epochs = 150 if (name, loss) == ("bert4rec", "bce") else 60
    progress = run(model, tmp_path, loss=loss, num_negatives=8, max_epochs=epochs, patience=epochs)
    ranks = rank_targets(model.model, model.item_embeddings(), VALIDATION, exclude_history=True)

    assert hit_rate(ranks, 1).mean() >= 0.9
    assert progress.best_score == pytest.approx(model.validate(VALIDATION))
    assert not model.training


class Interruption(Exception):
    """Stands for whatever ends a run."""


def interrupt_after(calls: int) -> Callable[[Tensor], Tensor]:
    """A regulariser that changes nothing, and raises at a later call."""
    left = calls

    def regulariser(rows: Tensor) -> Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise Interruption
        return torch.zeros(())

    return regulariser


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batches", [5, 10, 13])
def test_interrupted_fit_ends_with_the_same_bits(name: str, batches: int, tmp_path: Path) -> None:
    """At the end of an epoch or in its middle: dropout, order, optimiser and best state go on where they were."""
    (tmp_path / "whole").mkdir()
    whole = recommender(name, adapted=True, dropout=0.2)
    expected = run(whole, tmp_path / "whole", max_epochs=4)

    with pytest.raises(Interruption):
        run(recommender(name, adapted=True, dropout=0.2), tmp_path, interrupt_after(batches), max_epochs=4)
    resumed = recommender(name, seed=99, adapted=True, dropout=0.2)
    torch.rand(7)  # another process would not stand at the same random number either
    progress = run(resumed, tmp_path, max_epochs=4)

    assert progress == expected
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in whole.state_dict().items())


def test_finished_fit_trains_no_more(tmp_path: Path) -> None:
    """Begun again it restores the best state without a step."""
    first = recommender()
    progress = run(first, tmp_path)
    again = recommender(seed=5)

    assert run(again, tmp_path, interrupt_after(0)) == progress
    assert all(torch.equal(again.state_dict()[key], value) for key, value in first.state_dict().items())


def test_early_stop_keeps_the_best_epoch(tmp_path: Path) -> None:
    """At a learning rate that destroys what it learnt: it stops `patience` epochs after the best, whose state stays."""
    model = recommender(adapted=True)
    progress = run(model, tmp_path, learning_rate=0.05, max_epochs=50, patience=3)
    scores = []
    for epochs in range(1, progress.epoch + 1):
        folder = tmp_path / str(epochs)
        folder.mkdir()
        shorter = run(recommender(adapted=True), folder, learning_rate=0.05, max_epochs=epochs, patience=99)
        scores.append(shorter.best_score)

    assert progress.epoch == progress.best_epoch + 3 < 50
    assert scores[progress.best_epoch - 1] == progress.best_score == max(scores)
    assert progress.best_epoch == 1 or scores[progress.best_epoch - 2] < progress.best_score
    assert model.validate(VALIDATION) == pytest.approx(progress.best_score)


class Scripted(Recommender):
    """Trains as any other, and says of its validation what a script says."""

    def __init__(self, curve: Sequence[float]) -> None:
        model = recommender()
        super().__init__(model.table, model.model)
        self.curve = list(curve)

    def validate(self, validation: Targets) -> float:
        return self.curve.pop(0)


POPULAR = popular_ndcg(cycles(40), VALIDATION, NUM_ITEMS)
ON, OFF = POPULAR * 1.09, POPULAR * 1.11
"""The best score on the plateau, and one beyond it."""


@pytest.mark.parametrize(
    ("curve", "epochs", "best"),
    [
        ([ON, *[0.0] * 8, OFF, OFF, OFF, OFF, OFF], 12, 10),
        ([0.0, OFF, 0.0, 0.0, OFF], 4, 2),
        ([ON, *[0.0] * (2 * PLATEAU_PATIENCE + 5)], 1 + 2 * PLATEAU_PATIENCE, 1),
        ([0.0, POPULAR / 2, *[0.0] * 4, ON, *[0.0] * 20], 7 + 2 * PLATEAU_PATIENCE, 7),
    ],
)
def test_patience_is_longer_on_the_first_plateau(curve: list[float], epochs: int, best: int, tmp_path: Path) -> None:
    """At patience 2: two epochs without a better score once one is 10 % above most popular's, five times two before."""
    progress = run(Scripted(curve), tmp_path, max_epochs=30, patience=2)

    assert (progress.epoch, progress.best_epoch) == (epochs, best)
    assert progress.best_score == max(curve)
    assert progress.popular_score == POPULAR


def test_plateau_ends_with_the_last_epoch(tmp_path: Path) -> None:
    """Longer patience does not go beyond `max_epochs`."""
    assert run(Scripted([ON] * 9), tmp_path, max_epochs=4, patience=2).epoch == 4


def test_popular_score_is_that_of_the_training_counts() -> None:
    """Item 1 is met three times, 2 twice, 0 once; what a history has is left out, and without targets it is 0."""
    train = [np.array([1, 2]), np.array([1, 2]), np.array([1, 0])]
    validation = Targets(
        user_ids=("a", "b"), histories=[np.array([1]), np.array([3])], rows=np.array([2, 0], dtype=np.int64)
    )

    assert popular_ndcg(train, validation, 4) == pytest.approx((1 + 1 / math.log2(4)) / 2)
    assert popular_ndcg(train, targets_of([]), 4) == 0.0


@pytest.mark.parametrize(
    ("progress", "fault"),
    [
        (Progress(12, 8, 0.5, 0.1), None),
        (Progress(6, 3, 0.5, 0.1), None),
        (Progress(2, 2, 0.5, 0.1), None),
        (Progress(5, 2, 0.5, 0.1), "the best of 5 epochs is epoch 2"),
        (
            Progress(30, 9, 0.1, 0.1),
            "validation NDCG@10 0.1000 after 30 epochs is not above that of the most popular items, 0.1000",
        ),
        (
            Progress(30, 9, 0.105, 0.1),
            "validation NDCG@10 0.1050 after 30 epochs is less than 10% above that of the most popular items, 0.1000",
        ),
    ],
)
def test_training_that_learned_next_to_nothing_has_a_fault(progress: Progress, fault: str | None) -> None:
    """Behind most popular, still on the plateau, or stopped by patience 3 in its first epochs."""
    assert progress.fault(3) == fault
    assert progress.warning(3) == ("" if fault is None else f"; WARNING: not converged: {fault}")


def test_progress_is_read_back(tmp_path: Path) -> None:
    """As it was written; of a folder without it nothing is known."""
    progress = Progress(epoch=12, best_epoch=8, best_score=0.1 + 0.2, popular_score=0.1)
    assert read_progress(tmp_path) is None
    write_progress(tmp_path, progress)

    assert read_progress(tmp_path) == progress


def test_gru_learns_within_three_epochs(tmp_path: Path) -> None:
    """Among 200 items, some popular, where each mostly has one successor: no epochs are lost on a plateau."""
    random = np.random.default_rng(0)
    successors = random.permutation(200)
    train = []
    for _ in range(300):
        history = [int(200 * random.random() ** 3)]
        for _ in range(7):
            history.append(int(successors[history[-1]] if random.random() < 0.7 else 200 * random.random() ** 3))
        train.append(np.array(history))
    validation = Targets(tuple(map(str, range(200))), list(np.arange(200)[:, None]), successors)
    torch.manual_seed(0)
    spec = SequenceModelSpec(name="gru4rec", dim=32, max_length=8, layers=1)
    model = Recommender(IdTable(200, 32), build_sequence_model(spec))
    config = RatConfig(model=spec, batch_size=16, max_epochs=3, learning_rate=3e-3)
    progress = fit("vanilla", model, train, validation, config, 1, tmp_path / "c", tmp_path / "logs")

    assert progress.best_score > 0.5
    assert progress.popular_score < 0.05


def test_regulariser_gets_each_target_once_and_counts(tmp_path: Path) -> None:
    """It is called with the distinct target rows of a batch, and its gradient reaches the table."""
    asked: list[Tensor] = []
    model = recommender(adapted=True)
    table = model.table
    assert isinstance(table, AdaptedTable)

    def pull(rows: Tensor) -> Tensor:
        asked.append(rows)
        return 100 * table.semantic(rows).square().mean()

    run(model, tmp_path, pull)

    assert all(len(rows) == len(rows.unique()) for rows in asked)
    assert sorted(torch.cat(asked).unique().tolist()) == list(range(NUM_ITEMS))
    assert table.semantic().square().mean() < 0.01


def test_weight_decay_shrinks_the_weights(tmp_path: Path) -> None:
    """The same run with weight decay ends with a shorter item table."""
    lengths = []
    for decay in (0.0, 20.0):
        (tmp_path / str(decay)).mkdir()
        model = recommender()
        run(model, tmp_path / str(decay), weight_decay=decay, max_epochs=3)
        lengths.append(float(np.linalg.norm(model.item_embeddings())))

    assert lengths[1] < 0.8 * lengths[0]


def test_trained_table_leaves_its_start(tmp_path: Path) -> None:
    """The LLM's reduced embeddings move where they are trained, and only there."""
    for kind in ("frozen", "trained"):
        (tmp_path / kind).mkdir()
        model = recommender(adapted=True, table=kind)
        assert isinstance(model.table, AdaptedTable)
        before = model.table.frozen.clone()
        run(model, tmp_path / kind, max_epochs=2)
        assert torch.equal(model.table.frozen, before)
        if kind == "trained":
            assert model.table.reduced is not None
            assert (model.table.reduced - before).abs().amax(dim=1).min() > 1e-3
        else:
            assert model.table.reduced is None


def test_seed_decides_everything(tmp_path: Path) -> None:
    """The same seed ends with the same bits, another one with others."""
    ends = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        model = recommender(dropout=0.2)
        run(model, tmp_path / name, seed=seed, max_epochs=1)
        ends.append(model.item_embeddings())

    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_diverged_training_is_no_best_epoch(tmp_path: Path) -> None:
    """A model that scores nothing but NaN ranks last, not first."""
    model = recommender()
    torch.nn.init.constant_(model.table.embedding, float("nan"))

    assert model.validate(VALIDATION) == 0.0


def test_validation_without_targets_is_zero() -> None:
    """Where no history is long enough there is nothing to select by."""
    assert recommender().validate(targets_of([])) == 0.0


def test_histories_without_targets_are_refused(tmp_path: Path) -> None:
    """Users with one training item each teach nothing, and a message says so."""
    with pytest.raises(DataError, match="no user has two training items"):
        fit("llmemb", recommender(), [np.array([1])], VALIDATION, options(), 3, tmp_path / "c", tmp_path / "logs")


def test_checkpoint_restores_everything(tmp_path: Path) -> None:
    """Weights, best weights, optimiser and progress come back to the bit; no other file is left."""
    model, path = recommender(), tmp_path / "c.safetensors"
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.table().sum().backward()
    optimizer.step()
    best = {key: value + 1 for key, value in model.state_dict().items()}
    save_checkpoint(path, model, best, optimizer, Progress(5, 2, 0.25, 0.125))
    other = recommender(seed=1)
    fresh = torch.optim.AdamW(other.parameters(), lr=0.1)
    read_best, progress = load_checkpoint(path, other, fresh)

    assert progress == checkpoint_progress(path) == Progress(5, 2, 0.25, 0.125)
    assert all(torch.equal(read_best[key], value) for key, value in best.items())
    assert all(torch.equal(other.state_dict()[key], value) for key, value in model.state_dict().items())
    ours, theirs = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(theirs[i][name], value) for i, state in ours.items() for name, value in state.items())
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize(("tau", "lead"), [(0.0, np.log(9)), (1.0, 0.0)])
def test_logit_adjustment_leaves_popularity_out_of_the_scores(tau: float, lead: float) -> None:
    """Item 1 comes next nine times as often as item 0: plain scores say so, adjusted ones do not."""
    train = [np.array([2 + user % 10, int(user // 10 % 10 > 0)]) for user in range(200)]
    adjustment = logit_adjustment(np.bincount([rows[1] for rows in train], minlength=NUM_ITEMS), tau)
    model = recommender()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for epoch in range(60):
        train_epoch("llmemb", model, train, optimizer, options(batch_size=50), 3, epoch, None, adjustment)
    vectors = model.item_embeddings()
    scores = session_vectors(model.model, [vectors[rows[:1]] for rows in train]) @ vectors.T

    assert (scores[:, 1] - scores[:, 0]).mean() == pytest.approx(lead, abs=0.2)
