"""Agreement of inexact vectors with exact ones."""

import numpy as np

from llmemb.encoder.engines.admission import agreement


def vectors(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(40, 8)).astype(np.float32)


def test_the_same_vectors_agree_wholly() -> None:
    """Length does not matter: neighbours and cosines are those of directions."""
    found = agreement(3 * vectors(), vectors())

    assert found.admitted
    assert found.min_cosine > 0.999999
    assert found.overlap == 1.0


def test_one_bad_vector_is_refused() -> None:
    """The least cosine counts, not the mean."""
    given = vectors()
    given[7] *= -1

    found = agreement(given, vectors())

    assert found.min_cosine < -0.99
    assert found.mean_cosine > 0.9
    assert not found.admitted


def test_other_neighbours_are_refused() -> None:
    """Vectors that are close together may each be near and still have other neighbours."""
    crowded = 100 + 0.1 * vectors()

    found = agreement(crowded + 0.1 * vectors(1), crowded)

    assert found.min_cosine > 0.999
    assert found.overlap < 0.9
    assert not found.admitted


def test_two_vectors_have_one_neighbour_each() -> None:
    """Fewer than eleven items are compared with those that there are."""
    assert agreement(vectors()[:2], vectors()[:2]).overlap == 1.0
    assert agreement(vectors()[:1], vectors()[:1]).overlap == 1.0
