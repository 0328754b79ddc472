"""`llmemb_training.rat.semantic_profile`: in training the term is what it is when items are scored."""

import numpy as np
import pytest
import torch

from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import PADDING
from llmemb_training.rat.batches import Batch
from llmemb_training.rat.semantic_profile import SemanticProfile

VECTORS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
HISTORIES = ([3, 1, 4, 1, 5], [2, 6], [5, 3, 8, 0])


def profile(*, gamma: float = 2.0, history: int = 3, decay: float = 0.6, learned: bool = True) -> SemanticProfile:
    reduction = Projection(np.eye(4, dtype=np.float32), np.zeros(4, dtype=np.float32))
    return SemanticProfile(SemanticTerm(reduction, gamma, history, decay), VECTORS, learned=learned)


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [PADDING] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("history", [1, 3, 10])
def test_next_item_queries_are_those_of_the_histories_so_far(history: int) -> None:
    """At each position the query is what serving computes of the items up to it."""
    module = profile(history=history)
    inputs = padded([list(rows[:-1]) for rows in HISTORIES])
    targets = padded([list(rows[1:]) for rows in HISTORIES])
    queries = module(Batch(inputs, targets, None)).detach().numpy()

    prefixes = [rows[: end + 1] for rows in HISTORIES for end in range(len(rows) - 1)]
    expected = np.stack([module.term().query(VECTORS[prefix]) for prefix in prefixes])
    np.testing.assert_allclose(queries, expected, rtol=1e-5, atol=1e-6)


def test_masked_queries_see_only_what_stands_before_and_is_not_hidden() -> None:
    """A masked item tells nothing of itself; with nothing before it the query is zero."""
    module = profile(history=10)
    inputs = padded([[3, 1, 4, 1], [2, 6]])
    hidden = torch.tensor([[False, True, False, True], [True, False, False, False]])
    queries = module(Batch(inputs, torch.where(hidden, inputs, PADDING), hidden)).detach().numpy()

    weights = np.array([0.6**2, 0.6**0]) / (0.6**2 + 0.6**0)  # items 3 and 4, seen from the last position
    np.testing.assert_allclose(queries[0], 2.0 * VECTORS[3], rtol=1e-5)
    np.testing.assert_allclose(queries[1], 2.0 * weights @ VECTORS[[3, 4]], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(queries[2], np.zeros(4))


def test_gamma_is_learned_or_kept() -> None:
    """An open gamma takes part in the training, a given one does not; the items' vectors never do."""
    batch = Batch(padded([[3, 1]]), padded([[1, 4]]), None)
    learned, given = profile(), profile(learned=False)
    learned(batch).sum().backward()

    assert learned.log_gamma.grad is not None
    assert learned.log_gamma.grad != 0
    assert not given(batch).requires_grad
    assert [name for name, _ in learned.named_parameters()] == ["log_gamma"]
    assert given.term().gamma == pytest.approx(2.0)
