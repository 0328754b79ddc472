"""`llmemb.scoring.item_space`: item vectors of raw embeddings, for many items and for one."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmemb.index import Array
from llmemb.scoring.item_space import ItemSpace, Scoring, compose, join
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm

SCORINGS: tuple[Scoring, ...] = ("dot", "cosine")


def draw(*shape: int, seed: int = 0) -> Array:
    """Random numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def space(scoring: Scoring, *, with_term: bool) -> ItemSpace:
    """From width 6 to item embeddings of 4, with profile vectors of 3."""
    term = SemanticTerm(Projection(draw(6, 3, seed=3), draw(3, seed=4)), 0.5, 2) if with_term else None
    return ItemSpace(Projection(draw(6, 4, seed=1), draw(4, seed=2)), scoring, term)


def test_dot_composes_the_sum() -> None:
    """Semantic part plus residual, or the semantic part alone."""
    semantic, residual = draw(5, 4), draw(5, 4, seed=1)

    np.testing.assert_array_equal(compose(semantic, residual, "dot"), semantic + residual)
    np.testing.assert_array_equal(compose(semantic, None, "dot"), semantic)


def test_cosine_composes_what_training_composes() -> None:
    """The sum at unit length, as torch's `normalize` makes it; a zero vector stays zero."""
    semantic, residual = draw(5, 4), draw(5, 4, seed=1)
    residual[2] = -semantic[2]
    expected = functional.normalize(torch.from_numpy(semantic + residual), dim=-1).numpy()

    np.testing.assert_allclose(compose(semantic, residual, "cosine"), expected, atol=1e-7)
    np.testing.assert_array_equal(compose(semantic, residual, "cosine")[2], np.zeros(4))
    np.testing.assert_allclose(np.linalg.norm(compose(semantic, None, "cosine"), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("with_term", [True, False])
def test_item_vectors_are_item_embeddings_and_profile_vectors(scoring: Scoring, *, with_term: bool) -> None:
    """The residual and the unit length are the item embedding's affair; the profile vector stays as it is."""
    whole = space(scoring, with_term=with_term)
    raw, residual = draw(5, 6, seed=5), draw(5, 4, seed=6)
    semantic = whole.semantic_vectors(raw)
    vectors = whole.item_vectors(semantic, residual)
    profile = whole.semantic_term.apply(raw) if whole.semantic_term else None

    assert (whole.dim, whole.width) == (4, 7 if with_term else 4)
    assert semantic.shape == vectors.shape == (5, whole.width)
    np.testing.assert_array_equal(semantic, join(whole.projection.apply(raw), profile))
    np.testing.assert_array_equal(vectors, join(compose(whole.projection.apply(raw), residual, scoring), profile))


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("with_term", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_one_item_has_the_vector_that_it_has_among_many(
    scoring: Scoring, *, with_term: bool, with_residual: bool
) -> None:
    """An item that is added alone gets the vector that the whole table would hold, to the bit."""
    whole = space(scoring, with_term=with_term)
    semantic = whole.semantic_vectors(draw(5, 6, seed=5))
    residual = draw(5, 4, seed=6) if with_residual else None
    together = whole.item_vectors(semantic, residual)

    for row in range(5):
        alone = whole.item_vectors(semantic[row], None if residual is None else residual[row])
        np.testing.assert_array_equal(alone, together[row])
