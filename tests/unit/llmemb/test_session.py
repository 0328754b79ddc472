"""`llmemb.session`: session vectors, whatever the batch."""

import numpy as np
import pytest
import torch

from llmemb.index import Array
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModel, SequenceModelSpec, build_sequence_model
from llmemb.session import session_vectors


@pytest.fixture(params=list(SEQUENCE_MODELS))
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Each sequence model, of width 8, reading 5 items."""
    torch.manual_seed(0)
    return build_sequence_model(SequenceModelSpec(name=request.param, dim=8, max_length=5)).eval()


def histories(*lengths: int) -> list[Array]:
    """A random history of each length."""
    random = np.random.default_rng(0)
    return [random.normal(size=(length, 8)).astype(np.float32) for length in lengths]


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
