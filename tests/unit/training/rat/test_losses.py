"""`llmemb_training.rat.losses` against the same written out in NumPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb_training.config import AlignmentConfig, RatConfig
from llmemb_training.rat.losses import (
    alignment_loss,
    bce_loss,
    build_loss,
    gbce_loss,
    logit_adjustment,
    sampled_softmax_loss,
    softmax_loss,
)

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


def test_logit_adjustment_is_the_log_of_the_share_times_tau() -> None:
    """One is added to each count, so that an item without training interactions has a share."""
    np.testing.assert_allclose(
        logit_adjustment(np.array([6, 2, 0]), 0.5).numpy(), 0.5 * np.log([7 / 11, 3 / 11, 1 / 11]), rtol=1e-6
    )
    assert not logit_adjustment(np.array([6, 2, 0]), 0.0).any()


def test_adjusted_softmax_is_the_cross_entropy_over_raised_scores() -> None:
    """The adjustment is the items', the same for every prediction."""
    outputs, table, targets, adjustment = draw(3, 4), draw(5, 4, seed=1), [4, 0, 4], draw(5, seed=2)
    logits = (outputs @ table.T + adjustment).double().numpy()
    adjusted = build_loss(RatConfig(), adjustment)(outputs, table, torch.tensor(targets))

    assert adjusted.item() == pytest.approx(cross_entropy(logits, targets))


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


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


def test_sampled_softmax_is_the_cross_entropy_over_the_target_and_raised_negatives() -> None:
    """By hand: each negative stands for W / k items; one that is the target is left out of the sum."""
    outputs, table, targets, negatives = draw(3, 4), draw(9, 4, seed=1), [4, 0, 2], [2, 7, 8]
    logits = outputs.double().numpy() @ table.double().numpy().T
    expected = []
    for row, target in enumerate(targets):
        others = sum(9 / 3 * np.exp(logits[row, item]) for item in negatives if item != target)
        expected.append(np.log(np.exp(logits[row, target]) + others) - logits[row, target])

    loss = sampled_softmax_loss(outputs, table, torch.tensor(targets), torch.tensor(negatives))

    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_sampled_softmax_over_all_items_is_the_softmax() -> None:
    """With every item as a negative once, nothing is sampled any more."""
    outputs, table, targets = draw(3, 4), draw(9, 4, seed=1), torch.tensor([3, 8, 3])

    loss = sampled_softmax_loss(outputs, table, targets, torch.arange(9))

    torch.testing.assert_close(loss, softmax_loss(outputs, table, targets))


def test_sampled_softmax_of_many_negatives_comes_close_to_the_softmax() -> None:
    """The more negatives are drawn, the nearer loss and gradient are to those over all items."""
    outputs, table, targets = draw(6, 4).requires_grad_(), draw(50, 4, seed=1), torch.arange(6)
    whole = softmax_loss(outputs, table, targets)
    (exact,) = torch.autograd.grad(whole, outputs)
    config = RatConfig(loss="sampled_softmax", num_negatives=50_000)
    torch.manual_seed(0)

    loss = build_loss(config)(outputs, table, targets)
    (sampled,) = torch.autograd.grad(loss, outputs)

    assert loss.item() == pytest.approx(whole.item(), rel=0.02)
    torch.testing.assert_close(sampled, exact, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_gbce_is_as_by_hand(t: float) -> None:
    """The target's log-probability times beta, the negatives' added up; one that is the target does not count."""
    outputs, table, targets, negatives = draw(3, 4), draw(9, 4, seed=1), [4, 0, 2], [2, 7, 8]
    logits = outputs.double().numpy() @ table.double().numpy().T
    rate = 3 / 8
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    expected = [
        beta * softplus(-logits[row, target]) + sum(softplus(logits[row, n]) for n in negatives if n != target)
        for row, target in enumerate(targets)
    ]

    loss = gbce_loss(outputs, table, torch.tensor(targets), torch.tensor(negatives), t)

    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_calibration_of_gbce_goes_from_one_to_the_sampling_rate() -> None:
    """At t = 0 the target weighs 1, plain binary cross-entropy; at t = 1 it weighs what was sampled of the items."""
    table = draw(9, 4, seed=1)
    target, negatives = torch.tensor([2]), torch.tensor([5, 6])
    outputs = draw(1, 4)
    positive = torch.nn.functional.softplus(-(outputs @ table[2])).item()
    plain = gbce_loss(outputs, table, target, negatives, 0.0).item()

    assert plain == pytest.approx(positive + torch.nn.functional.softplus(outputs @ table[negatives].T).sum().item())
    assert plain - gbce_loss(outputs, table, target, negatives, 1.0).item() == pytest.approx((1 - 2 / 8) * positive)


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce"])
def test_target_among_the_negatives_does_not_count(loss: str) -> None:
    """Drawn as a negative, the target neither adds to the loss nor is pushed down."""
    outputs, table, targets = draw(2, 4), draw(9, 4, seed=1), torch.tensor([3, 3])

    def of(negatives: list[int]) -> float:
        if loss == "gbce":
            return gbce_loss(outputs, table, targets, torch.tensor(negatives), 0.0).item()
        return sampled_softmax_loss(outputs, table, targets, torch.tensor(negatives)).item()

    alone = {
        "gbce": torch.nn.functional.softplus(-(outputs @ table[3])).mean().item(),
        "sampled_softmax": 0.0,
    }

    assert of([3]) == pytest.approx(alone[loss], abs=1e-6)
    assert of([3, 5]) != pytest.approx(alone[loss], abs=1e-3)


@pytest.mark.parametrize("loss", ["softmax", "bce", "sampled_softmax", "gbce"])
def test_every_loss_of_the_configuration_pulls_the_target_up(loss: str) -> None:
    """One step down the gradient raises the target's logit, and no other's."""
    config = RatConfig.model_validate({"loss": loss, "num_negatives": 20})
    outputs, table, targets = draw(5, 9).requires_grad_(), torch.eye(9), torch.arange(5)
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad(build_loss(config)(outputs, table, targets), outputs)
    own = torch.nn.functional.one_hot(targets, 9) == 1

    assert (gradient[own] < 0).all()
    assert (gradient[~own] >= 0).all()
    assert (gradient[~own] > 0).any()


def test_number_of_negatives_and_t_reach_the_loss() -> None:
    """The same draws, other options, another loss."""
    values = set()
    for loss, negatives, t in (
        ("sampled_softmax", 4, 0.75),
        ("sampled_softmax", 8, 0.75),
        ("gbce", 4, 0.75),
        ("gbce", 8, 0.75),
        ("gbce", 8, 0.0),
    ):
        config = RatConfig.model_validate({"loss": loss, "num_negatives": negatives, "gbce_t": t})
        torch.manual_seed(0)
        values.add(round(build_loss(config)(draw(3, 4), draw(20, 4, seed=1), torch.tensor([0, 1, 2])).item(), 4))

    assert len(values) == 5


def infonce(temperature: float) -> AlignmentConfig:
    return AlignmentConfig(form="infonce", temperature=temperature)


def soft(temperature: float) -> AlignmentConfig:
    return AlignmentConfig(form="soft", temperature=temperature)


def test_alignment_loss_is_symmetric_over_cosines() -> None:
    """Mean of both directions' cross-entropies of cosines over the temperature; lengths have no part."""
    first, second = draw(5, 3), draw(5, 3, seed=1)
    a, b = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (first, second))
    logits, own = a @ b.T / 0.5, list(range(5))
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2

    assert alignment_loss(first, second, infonce(0.5)).item() == pytest.approx(expected, rel=1e-5)
    assert alignment_loss(second * 9, first, infonce(0.5)).item() == pytest.approx(expected, rel=1e-5)


def test_alignment_loss_of_identical_tables_is_the_least() -> None:
    """At a low temperature a table aligned with itself loses nothing, and a table turned round much."""
    table = draw(6, 8)

    assert alignment_loss(table, table, infonce(0.01)).item() == pytest.approx(0.0, abs=1e-6)
    assert alignment_loss(table, -table, infonce(0.01)).item() > 10
    assert alignment_loss(torch.eye(4), torch.eye(4), infonce(1.0)).item() == pytest.approx(np.log(np.e + 3) - 1)


def test_alignment_loss_is_float32_for_half_precision() -> None:
    """Half-precision embeddings at the lowest temperature neither overflow nor lose the loss's precision."""
    loss = alignment_loss(draw(4, 3).half() * 1000, draw(4, 3).half(), infonce(1e-4))

    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def softmax(logits: Array) -> Array:
    exponents: Array = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return exponents


def test_soft_alignment_is_as_by_hand() -> None:
    """Targets are the softmax of the mean similarity within both spaces; cross-entropy in both directions."""
    first, second = draw(5, 3), draw(5, 3, seed=1)
    a, b = (x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (first, second))
    targets = softmax((a @ a.T + b @ b.T) / 2 / 0.5)
    logits = a @ b.T / 0.5
    expected = [-(targets * np.log(softmax(each))).sum(axis=1).mean() for each in (logits, logits.T)]

    assert alignment_loss(first, second, soft(0.5)).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_soft_alignment_of_items_that_are_not_alike_is_infonce() -> None:
    """Where each item is like itself alone, its target is its own vector alone."""
    first, second = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]]
    values = [alignment_loss(first, second, config).item() for config in (soft(0.02), infonce(0.02))]

    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert values[0] > 10


def test_items_that_are_alike_are_no_negatives_in_the_soft_form() -> None:
    """Near twins that stand where they should are left there; InfoNCE tears them apart."""
    table = torch.nn.functional.normalize(torch.eye(3)[[0, 0, 1, 2]] + 0.3 * draw(4, 3), dim=-1)
    gradients = {}
    for config in (soft(0.5), infonce(0.5)):
        adapted = table.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(alignment_loss(adapted, table, config), adapted)
        gradients[config.form] = gradient.abs().max().item()

    assert gradients["soft"] < 1e-6
    assert gradients["infonce"] > 1e-2


def test_no_gradient_runs_through_the_soft_targets() -> None:
    """The gradient is that of the cross-entropy to targets that are constants."""
    first, second = draw(5, 3).requires_grad_(), draw(5, 3, seed=1)
    (gradient,) = torch.autograd.grad(alignment_loss(first, second, soft(0.5)), first)
    a, b = torch.nn.functional.normalize(first, dim=-1), torch.nn.functional.normalize(second, dim=-1)
    targets = ((a @ a.T + b @ b.T) / 2 / 0.5).softmax(dim=-1).detach()
    logits = a @ b.T / 0.5
    by_hand = -(targets * (logits.log_softmax(dim=1) + logits.T.log_softmax(dim=1))).sum(dim=1).mean() / 2
    (expected,) = torch.autograd.grad(by_hand, first)

    torch.testing.assert_close(gradient, expected)
