"""`llmemb.scoring.session`: session vectors, whatever the batch."""

import numpy as np
import pytest
import torch

from llmemb.index import Array
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import items_read, session_vectors
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModel, SequenceModelSpec, build_sequence_model


@pytest.fixture(params=list(SEQUENCE_MODELS))
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Each sequence model, of width 8, reading 5 items."""
    torch.manual_seed(0)
    return build_sequence_model(SequenceModelSpec(name=request.param, dim=8, max_length=5)).eval()


def histories(*lengths: int, width: int = 8) -> list[Array]:
    """A random history of each length."""
    random = np.random.default_rng(0)
    return [random.normal(size=(length, width)).astype(np.float32) for length in lengths]


def term(history: int = 3) -> SemanticTerm:
    """A semantic term with profile vectors of width 2."""
    return SemanticTerm(Projection(np.zeros((4, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)), 0.5, history)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batch_size_changes_no_vector(model: SequenceModel, batch_size: int) -> None:
    """Histories of any lengths get the same vectors, in their order, in batches of any size."""
    some = histories(3, 1, 9, 5, 2, 6, 4)
    alone = np.concatenate([session_vectors(model, [history]) for history in some])

    vectors = session_vectors(model, some, batch_size=batch_size)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, alone, atol=1e-6)


def test_no_histories_give_no_vectors(model: SequenceModel) -> None:
    """An empty request has an empty answer of the right width."""
    vectors = session_vectors(model, [])

    assert vectors.shape == (0, 8)
    assert vectors.dtype == np.float32


def test_only_the_most_recent_items_are_read(model: SequenceModel) -> None:
    """A history longer than `max_length` counts by its end."""
    (history,) = histories(12)

    np.testing.assert_array_equal(session_vectors(model, [history]), session_vectors(model, [history[-5:]]))


def test_no_gradient_is_kept(model: SequenceModel) -> None:
    """Session vectors are computed for answers, not for training, and leave no gradient behind."""
    session_vectors(model, histories(3))

    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_score_is_the_model_s_plus_the_semantic_term(model: SequenceModel, batch_size: int) -> None:
    """The inner product with an item vector is the inner product of the first columns, plus the term of the rest."""
    some = histories(3, 1, 9, 5, width=10)
    (items,) = histories(20, width=10)
    alone = session_vectors(model, [history[:, :8] for history in some])
    profiles = np.stack([history[-3:, 8:].mean(axis=0) for history in some])

    scores = session_vectors(model, some, term(), batch_size=batch_size) @ items.T

    np.testing.assert_allclose(scores, alone @ items[:, :8].T + 0.5 * profiles @ items[:, 8:].T, atol=1e-4)


def test_no_histories_give_no_vectors_with_a_semantic_term(model: SequenceModel) -> None:
    """An empty request has an empty answer of the item vectors' width."""
    assert session_vectors(model, [], term()).shape == (0, 10)


@pytest.mark.parametrize("window", [3, 7])
def test_items_read_decide_the_session_vector(model: SequenceModel, window: int) -> None:
    """What stands before them changes nothing; the first of them changes something."""
    (history,) = histories(12, width=10)
    read = items_read(model, term(window))
    changed = history.copy()
    changed[-read] *= -1

    assert read == max(5, window)
    assert items_read(model, None) == 5
    vector = session_vectors(model, [history], term(window))
    np.testing.assert_array_equal(session_vectors(model, [history[-read:]], term(window)), vector)
    assert not np.allclose(session_vectors(model, [changed], term(window)), vector)
