"""`llmemb_training.rat.losses` against torch's own cross-entropy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llmemb_training.rat.losses import LEAST_ROWS, softmax_loss

DIM = 4


def plain_loss(outputs: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs @ table.T, targets)


def loss_and_gradients(
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor], num_outputs: int, num_items: int, scale: float
) -> list[Tensor]:
    """Return the loss, doubled, and its gradients by outputs and table."""
    draw = torch.Generator().manual_seed(0)
    outputs = (torch.randn(num_outputs, DIM, generator=draw) * scale).requires_grad_()
    table = torch.randn(num_items, DIM, generator=draw).requires_grad_()
    loss = 2 * loss_of(outputs, table, torch.randint(num_items, (num_outputs,), generator=draw))
    loss.backward()
    assert outputs.grad is not None
    assert table.grad is not None
    return [loss.detach(), outputs.grad, table.grad]


@pytest.mark.parametrize(
    ("num_outputs", "num_items"),
    [
        pytest.param(1, 1, id="one item"),
        pytest.param(7, 30, id="one chunk"),
        pytest.param(2 * LEAST_ROWS + 9, 20_000, id="three chunks, the last one short"),
        pytest.param(2 * LEAST_ROWS, 20_000, id="two whole chunks"),
    ],
)
def test_loss_and_gradients_are_those_of_cross_entropy(num_outputs: int, num_items: int) -> None:
    """Whatever the chunks, the mean over all predictions, with what the loss is multiplied by in its gradients."""
    ours, theirs = (loss_and_gradients(loss_of, num_outputs, num_items, 1.0) for loss_of in (softmax_loss, plain_loss))

    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)


def test_great_scores_do_not_overflow() -> None:
    """Scores in the thousands, whose exponentials no float32 holds."""
    ours, theirs = (loss_and_gradients(loss_of, 5, 40, 1e4) for loss_of in (softmax_loss, plain_loss))

    assert all(torch.isfinite(own).all() for own in ours)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_a_score_that_is_no_number_shows_in_the_loss() -> None:
    """A model that diverged is not trained on as if nothing were."""
    outputs = torch.full((3, DIM), np.nan)

    assert softmax_loss(outputs, torch.ones(5, DIM), torch.tensor([0, 1, 2])).isnan()
