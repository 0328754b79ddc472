"""`semantic_term`: profiles of unit vectors, and a query whose inner product is gamma times their cosine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.index import Array
from llmemb.scoring.projection import Projection, fit_reduction, fold
from llmemb.scoring.semantic_term import SemanticTerm, recency_weights


def raw_embeddings(count: int = 30) -> Array:
    """Random raw embeddings of width 12, far from the origin as an LLM's are."""
    random = np.random.default_rng(0)
    return (random.normal(size=(count, 12)) * random.uniform(0.1, 5, 12) + 40).astype(np.float32)


def term(gamma: float = 0.5, history: int = 3, decay: float = 1.0) -> SemanticTerm:
    """A term over the four strongest directions of `raw_embeddings`."""
    return SemanticTerm(fold(fit_reduction(raw_embeddings(), 4, "whiten"), []), gamma, history, decay)


def test_profile_vectors_are_the_whitened_embeddings_at_unit_length() -> None:
    """They point where the whitening points."""
    raw = raw_embeddings()
    whitened = fit_reduction(raw, 4, "whiten").apply(raw)
    vectors = term().apply(raw)

    assert vectors.dtype == np.float32
    assert vectors.shape == (30, term().components) == (30, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors * np.linalg.norm(whitened, axis=1, keepdims=True), whitened, atol=1e-4)


def test_embedding_at_the_mean_has_the_zero_vector() -> None:
    """It has no direction: its similarity to anything is 0, and nothing is NaN."""
    nothing = SemanticTerm(Projection(np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)), 1.0, 3)

    np.testing.assert_array_equal(nothing.apply(np.zeros((2, 3), dtype=np.float32)), np.zeros((2, 3)))


@given(length=st.integers(1, 8), history=st.integers(1, 10), gamma=st.floats(0.01, 10), decay=st.floats(0.01, 1))
def test_inner_product_with_the_query_is_gamma_times_the_mean_cosine(
    length: int, history: int, gamma: float, decay: float
) -> None:
    """Of the most recent items, as many as the term reads, or all there are; each weighs more than the one before."""
    raw = raw_embeddings()
    of_all = fit_reduction(raw, 4, "whiten").apply(raw).astype(np.float64)
    cosines = of_all @ of_all.T / np.outer(np.linalg.norm(of_all, axis=1), np.linalg.norm(of_all, axis=1))
    vectors = term().apply(raw)
    rows = np.arange(length)

    scores = vectors @ term(gamma, history, decay).query(vectors[rows])

    recent = rows[-history:]
    expected = np.average(cosines[recent], axis=0, weights=[decay ** (length - 1 - row) for row in recent])
    np.testing.assert_allclose(scores, gamma * expected, atol=1e-4 * gamma)


def test_recency_weights_halve_with_each_step_back() -> None:
    """By hand: the newest weighs most, and their sum is 1."""
    np.testing.assert_allclose(recency_weights(3, 0.5), np.array([1, 2, 4]) / 7, rtol=1e-6)
    np.testing.assert_allclose(recency_weights(4, 1.0), np.full(4, 0.25), rtol=1e-6)
    assert recency_weights(400, 0.1).tolist()[-1] == pytest.approx(0.9)


@pytest.mark.parametrize("gamma", [0.25, 2.0])
def test_gamma_scales_the_query(gamma: float) -> None:
    """The weight is that of the whole term."""
    vectors = term().apply(raw_embeddings())[:2]

    np.testing.assert_allclose(term(gamma).query(vectors), gamma * term(1.0).query(vectors), rtol=1e-6)
