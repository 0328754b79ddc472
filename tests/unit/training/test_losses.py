"""`training.losses` against the same written out in NumPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.losses import alignment_loss, bce_loss, softmax_loss

Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def cross_entropy(logits: Array, own: list[int]) -> float:
    return float(np.mean([np.log(np.exp(row).sum()) - row[i] for row, i in zip(logits, own, strict=True)]))


def test_softmax_loss_is_the_cross_entropy_over_all_items() -> None:
    """The mean of `log sum exp` less the target's logit."""
    outputs, table, targets = draw(3, 4), draw(5, 4, seed=1), [4, 0, 4]
    logits = outputs.double().numpy() @ table.double().numpy().T

    assert softmax_loss(outputs, table, torch.tensor(targets)).item() == pytest.approx(cross_entropy(logits, targets))


def test_softmax_loss_of_equal_items_is_the_log_of_their_number() -> None:
    """A model that knows nothing loses log W."""
    loss = softmax_loss(torch.zeros(2, 3), draw(7, 3), torch.tensor([0, 6]))

    assert loss.item() == pytest.approx(np.log(7))


def test_bce_loss_of_a_fixed_draw_is_as_by_hand() -> None:
    """The target's logit is pushed up, that of one drawn negative down; each by its own mean."""
    outputs, table, targets = draw(6, 4), draw(5, 4, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
    torch.manual_seed(3)
    loss = bce_loss(outputs, table, targets)
    torch.manual_seed(3)
    draws = torch.randint_like(targets, 4).tolist()
    logits = outputs.double().numpy() @ table.double().numpy().T
    expected = 0.0
    for row, (target, negative) in enumerate(zip(targets.tolist(), draws, strict=True)):
        others = [item for item in range(5) if item != target]
        expected += -np.log(1 / (1 + np.exp(-logits[row, target])))
        expected += -np.log(1 - 1 / (1 + np.exp(-logits[row, others[negative]])))

    assert loss.item() == pytest.approx(expected / 6, rel=1e-5)


def test_bce_negative_is_any_item_but_the_target() -> None:
    """With outputs that name an item, the loss tells which was drawn: all others, about equally often, never it."""
    table = torch.eye(4) * 50.0
    torch.manual_seed(0)
    drawn = [
        [bce_loss(torch.eye(4)[item : item + 1], table, torch.tensor([2])).item() > 40 for _ in range(300)]
        for item in (0, 1, 3)
    ]

    assert all(70 < sum(hits) < 130 for hits in drawn)
    assert bce_loss(torch.eye(4)[2:3], table, torch.tensor([2])).item() == pytest.approx(np.log(2))


def test_alignment_loss_is_symmetric_over_cosines() -> None:
    """Mean of both directions' cross-entropies of cosines over the temperature; lengths have no part."""
    first, second = draw(5, 3), draw(5, 3, seed=1)
    a, b = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (first, second))
    logits, own = a @ b.T / 0.5, list(range(5))
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2

    assert alignment_loss(first, second, 0.5).item() == pytest.approx(expected, rel=1e-5)
    assert alignment_loss(second * 9, first, 0.5).item() == pytest.approx(expected, rel=1e-5)


def test_alignment_loss_of_identical_tables_is_the_least() -> None:
    """At a low temperature a table aligned with itself loses nothing, and a table turned round much."""
    table = draw(6, 8)

    assert alignment_loss(table, table, 0.01).item() == pytest.approx(0.0, abs=1e-6)
    assert alignment_loss(table, -table, 0.01).item() > 10
    assert alignment_loss(torch.eye(4), torch.eye(4), 1.0).item() == pytest.approx(np.log(np.e + 3) - 1)


def test_alignment_loss_is_float32_for_half_precision() -> None:
    """Half-precision embeddings at the lowest temperature neither overflow nor lose the loss's precision."""
    loss = alignment_loss(draw(4, 3).half() * 1000, draw(4, 3).half(), 1e-4)

    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
