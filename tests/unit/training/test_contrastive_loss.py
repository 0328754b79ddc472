"""`training.contrastive_loss`: the cosines, the candidates that do not count, and the value by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmemb.projection import Reduction, fit_reduction
from training.contrastive_loss import ContrastiveLoss, cosines, false_negatives
from training.pairs import Pair


def labels_of(*pairs: Pair) -> Tensor:
    return torch.tensor([pair.identity() for pair in pairs])


def masks_of(*pairs: Pair) -> tuple[list[list[bool]], list[list[bool]]]:
    labels = labels_of(*pairs)
    first, second = false_negatives(labels, labels, torch.arange(len(pairs)))
    return first.tolist(), second.tolist()


class Columns(nn.Module):
    """Embeds a column as the vectors that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.weight * features["vectors"]}


def loss_of(
    first: Tensor, second: Tensor, labels: Tensor, temperature: float, whitening: Reduction | None = None
) -> Tensor:
    loss = ContrastiveLoss(Columns(), temperature, whitening, None)
    return loss([{"vectors": first}, {"vectors": second}], labels)


def test_cosines_are_float32_under_autocast() -> None:
    """Half-precision embeddings of any length give cosines in full precision, of each with each."""
    first, second = torch.randn(3, 8).bfloat16() * 100, torch.randn(5, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = cosines(first, second)

    assert result.dtype == torch.float32
    torch.testing.assert_close(
        result, functional.cosine_similarity(first.float().unsqueeze(1), second.float().unsqueeze(0), dim=-1)
    )


def test_different_items_of_different_texts_are_negatives() -> None:
    """Nothing is masked, and never the positive, even where both views read the same."""
    assert masks_of(Pair("a", "a", 0, 0), Pair("b", "c", 1, 1)) == ([[False] * 2] * 2, [[False] * 2] * 2)


@pytest.mark.parametrize(
    ("other", "first", "second"),
    [
        # The other pair's second reads as ours: no negative of our first, nor of our second the other way round.
        (Pair("x", "b", 1, 1), True, False),
        (Pair("x", "a", 1, 1), True, False),
        (Pair("a", "x", 1, 1), False, True),
        (Pair("b", "x", 1, 1), False, True),
        # Or it shows our item, or our partner.
        (Pair("x", "y", 1, 0), True, False),
        (Pair("x", "y", 1, 9), True, False),
        (Pair("x", "y", 9, 1), False, True),
        (Pair("x", "y", 1, 1), False, False),
    ],
)
def test_what_shows_either_side_of_a_pair_is_no_negative(other: Pair, first: bool, second: bool) -> None:
    """The same item or the same text as the anchor or as its positive."""
    masks = masks_of(Pair("a", "b", 0, 9), other)

    assert (masks[0][0][1], masks[1][0][1]) == (first, second)


def test_loss_is_the_mean_of_both_directions() -> None:
    """Cross-entropy of each row and of each column of the cosines over the temperature."""
    first, second = torch.randn(4, 8), torch.randn(4, 8)
    labels = labels_of(*(Pair(f"a{row}", f"b{row}", row, row) for row in range(4)))
    logits = cosines(first, second) / 0.3
    right = torch.arange(4)
    expected = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2

    torch.testing.assert_close(loss_of(first, second, labels, 0.3), expected)


def test_masked_candidates_do_not_change_the_loss() -> None:
    """Two pairs of one item: each is alone, so there is nothing to lose."""
    labels = labels_of(Pair("a", "b", 0, 0), Pair("c", "d", 0, 0))

    assert loss_of(torch.randn(2, 8), torch.randn(2, 8), labels, 0.1).item() == pytest.approx(0.0, abs=1e-6)


def test_whitened_loss_is_that_of_whitened_vectors() -> None:
    """Cosines are taken in the space of the whitening, which gradients pass through."""
    raw = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32) + 5
    whitening = fit_reduction(raw, 4, "whiten")
    first, second = torch.from_numpy(raw[:6]).requires_grad_(), torch.from_numpy(raw[6:12])
    labels = torch.arange(24).reshape(6, 4)
    loss = loss_of(first, second, labels, 0.5, whitening)
    loss.backward()

    expected = loss_of(
        *(torch.from_numpy(whitening.apply(raw[rows])) for rows in (slice(6), slice(6, 12))), labels, 0.5
    )
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    assert first.grad is not None
    assert float(first.grad.abs().sum()) > 0
