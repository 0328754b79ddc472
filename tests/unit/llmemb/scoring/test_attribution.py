"""`attribution`: what each entry of a history did for an item, held to a loop that leaves them out in turn."""

import numpy as np
import pytest
import torch

from llmemb.index import Array
from llmemb.scoring.attribution import contributions
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import session_vectors
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModel, SequenceModelSpec, build_sequence_model

DIM, PROFILE, MAX_LENGTH = 8, 3, 5


@pytest.fixture(params=list(SEQUENCE_MODELS))
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Each sequence model, of width 8, reading 5 items."""
    torch.manual_seed(0)
    spec = SequenceModelSpec(name=request.param, dim=DIM, max_length=MAX_LENGTH)
    return build_sequence_model(spec).eval()


def vectors(number: int, seed: int = 0, width: int = DIM + PROFILE) -> Array:
    """Random item vectors."""
    return np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32)


def term(history: int) -> SemanticTerm:
    """A semantic term over the last columns."""
    reduction = Projection(np.zeros((4, PROFILE), dtype=np.float32), np.zeros(PROFILE, dtype=np.float32))
    return SemanticTerm(reduction, gamma=2.0, history=history, decay=0.7)


def by_loop(model: SequenceModel, history: Array, items: Array, semantic_term: SemanticTerm | None, read: int) -> Array:
    """The definition: the score with the whole history, less the score without the entry."""
    whole = items @ session_vectors(model, [history], semantic_term)[0]
    falls = []
    for entry in range(max(0, len(history) - read), len(history)):
        rest = [row for row in range(len(history)) if row != entry]
        left = items @ session_vectors(model, [history[rest]], semantic_term)[0] if rest else np.zeros(len(items))
        falls.append(whole - left)
    return np.stack(falls, axis=1)


@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 12])
@pytest.mark.parametrize("window", [2, 7])
def test_contributions_equal_a_plain_loop(model: SequenceModel, length: int, window: int) -> None:
    """With the semantic term, whichever of the two reads further, in histories shorter and longer than what is read."""
    history, items = vectors(length), vectors(6, seed=1)

    falls = contributions(model, history, items, term(window))

    assert falls.dtype == np.float32
    np.testing.assert_allclose(falls, by_loop(model, history, items, term(window), max(MAX_LENGTH, window)), atol=1e-4)


@pytest.mark.parametrize("length", [1, 3, 9])
def test_contributions_without_a_semantic_term(model: SequenceModel, length: int) -> None:
    """The sequence model alone."""
    history, items = vectors(length, width=DIM), vectors(4, seed=1, width=DIM)

    falls = contributions(model, history, items)

    np.testing.assert_allclose(falls, by_loop(model, history, items, None, MAX_LENGTH), atol=1e-4)


def test_an_only_entry_drew_the_whole_score(model: SequenceModel) -> None:
    """Without it there is no history, and no score."""
    history, items = vectors(1), vectors(4, seed=1)

    falls = contributions(model, history, items, term(3))

    np.testing.assert_allclose(falls[:, 0], items @ session_vectors(model, [history], term(3))[0], atol=1e-5)


def test_an_entry_past_what_is_read_has_no_column(model: SequenceModel) -> None:
    """Only entries that the model reads can have drawn an item."""
    assert contributions(model, vectors(40), vectors(2, seed=1), term(3)).shape == (2, MAX_LENGTH)
