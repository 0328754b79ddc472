"""`llmemb_training.scft.loss`: the values by hand, what is masked, and the whitened space."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llmemb.scoring.projection import fit_reduction
from llmemb_training.scft.batches import Batch, NextPairs
from llmemb_training.scft.loss import ContrastiveLoss, next_loss, views_loss

TEMPERATURE = 0.5


def units(*shape: int, seed: int = 0) -> Tensor:
    return functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def pairs_of(num_items: int) -> NextPairs:
    """Two steps: of the items 0 and 1, half each, to 2; and of 3 to 4. Their histories and item 5 are masked."""
    weights = np.zeros((2, num_items), dtype=np.float32)
    weights[0, :2], weights[1, 3] = 0.5, 1.0
    masked = np.zeros((2, num_items), dtype=bool)
    masked[0, [0, 1, 5]], masked[1, [3, 5]] = True, True
    return NextPairs(weights, np.array([2, 4]), masked)


def batch_of(num_items: int, *, second: bool, following: bool) -> Batch:
    alike = np.zeros((num_items, num_items), dtype=bool)
    texts = [f"text {row}" for row in range(num_items)]
    return Batch(
        np.arange(num_items), texts, texts if second else [], pairs_of(num_items) if following else None, alike
    )


def test_loss_of_steps_by_hand() -> None:
    """Cross-entropy of the next item by inner product with the mean of those before, over tau, masked ones left out."""
    vectors = units(6, 8)
    first = torch.stack([(vectors[0] + vectors[1]) / 2 @ vectors[i] for i in (2, 3, 4)]) / TEMPERATURE
    second = torch.stack([vectors[3] @ vectors[i] for i in (4, 0, 1, 2)]) / TEMPERATURE
    expected = (-first.log_softmax(0)[0] - second.log_softmax(0)[0]) / 2

    torch.testing.assert_close(next_loss(vectors, pairs_of(6), TEMPERATURE), expected)


def test_loss_of_views_by_hand() -> None:
    """Mean of both directions; a pair of items that read the same counts in neither."""
    first, second = units(3, 8), units(3, 8, seed=1)
    alike = torch.zeros(3, 3, dtype=torch.bool)
    alike[0, 2] = alike[2, 0] = True
    cosines = (first @ second.T / TEMPERATURE).tolist()
    values = []
    for own, others in ((0, [1]), (1, [0, 2]), (2, [1])):
        forth = np.exp([cosines[own][i] for i in (own, *others)])
        back = np.exp([cosines[i][own] for i in (own, *others)])
        values += [-np.log(forth[0] / forth.sum()), -np.log(back[0] / back.sum())]

    assert float(views_loss(first, second, alike, TEMPERATURE)) == pytest.approx(np.mean(values), rel=1e-5)


def test_masked_items_get_no_gradient() -> None:
    """An item masked in all steps and in no query gets no gradient."""
    vectors = units(7, 8).requires_grad_()
    next_loss(vectors, pairs_of(7), TEMPERATURE).backward()
    assert vectors.grad is not None

    assert vectors.grad[5].abs().max() == 0
    assert (vectors.grad[[0, 1, 2, 3, 4, 6]].abs().amax(dim=1) > 0).all()


def test_both_losses_are_added() -> None:
    """Of the views, and of the histories' steps by the first views alone; each alone where only it is configured."""
    embeddings = 3 * torch.randn(12, 8, generator=torch.Generator().manual_seed(1))
    loss = ContrastiveLoss(TEMPERATURE, None)
    both = loss(embeddings, batch_of(6, second=True, following=True))
    following = loss(embeddings[:6], batch_of(6, second=False, following=True))
    views = loss(embeddings, batch_of(6, second=True, following=False))

    torch.testing.assert_close(both, following + views)
    torch.testing.assert_close(
        following, next_loss(functional.normalize(embeddings[:6], dim=-1), pairs_of(6), TEMPERATURE)
    )


def test_cosines_are_taken_in_the_whitened_space() -> None:
    """As the reduction maps the embeddings, in float32."""
    raw = (10 + np.random.default_rng(0).standard_normal((40, 8)) * [9, 5, 1, 1, 1, 1, 1, 1]).astype(np.float32)
    whitening = fit_reduction(raw, 4, "whiten")
    batch = batch_of(6, second=False, following=True)
    reduced = functional.normalize(torch.from_numpy(whitening.apply(raw[:6])), dim=-1)

    torch.testing.assert_close(
        ContrastiveLoss(TEMPERATURE, whitening)(torch.from_numpy(raw[:6]), batch),
        next_loss(reduced, pairs_of(6), TEMPERATURE),
        rtol=1e-4,
        atol=1e-4,
    )
