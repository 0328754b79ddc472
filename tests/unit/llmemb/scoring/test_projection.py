"""`llmemb.scoring.projection`: whitening, PCA and folding against what they are by definition."""

import numpy as np
import pytest

from llmemb.errors import ConfigError, DataError
from llmemb.scoring.projection import Array, Projection, Reduction, ReductionMode, fit_reduction, fold, unit_length


def raw_embeddings(num_items: int = 300, width: int = 24) -> Array:
    """Correlated vectors of very different variances around a mean that is not zero."""
    random = np.random.default_rng(0)
    mixed = random.normal(size=(num_items, width)) @ random.normal(size=(width, width))
    return np.asarray(mixed * np.geomspace(10, 0.1, width) + random.normal(size=width) * 5, dtype=np.float32)


@pytest.mark.parametrize("components", [1, 5, 24])
def test_whitened_vectors_have_zero_mean_and_unit_covariance(components: int) -> None:
    """Whitening leaves uncorrelated coordinates of variance 1."""
    raw = raw_embeddings()

    white = fit_reduction(raw, components, "whiten").apply(raw).astype(np.float64)

    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white, rowvar=False).reshape(components, -1), np.eye(components), atol=1e-4)


@pytest.mark.parametrize("components", [1, 5, 24])
def test_pca_is_the_singular_value_decomposition_up_to_one_factor(components: int) -> None:
    """PCA gives the leading coordinates of the SVD, each up to its sign, all divided by one number."""
    raw = raw_embeddings()
    centred = raw.astype(np.float64) - raw.astype(np.float64).mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :components] * singular[:components]

    reduced = fit_reduction(raw, components, "pca").apply(raw)

    factor = np.linalg.norm(expected) / np.linalg.norm(reduced)
    np.testing.assert_allclose(np.abs(reduced) * factor, np.abs(expected), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(reduced.var(axis=0, ddof=1).mean(), 1, rtol=1e-4)


def test_no_reduction_only_centres() -> None:
    """All coordinates stay as they are, less their mean, whatever `components` says."""
    raw = raw_embeddings(num_items=10)

    reduced = fit_reduction(raw, 999, "none").apply(raw)

    np.testing.assert_allclose(reduced, raw - raw.mean(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["whiten", "pca"])
def test_sign_of_a_direction_is_fixed(mode: ReductionMode) -> None:
    """Each direction's greatest coordinate is positive, so items in another order give the same vectors."""
    raw = raw_embeddings()

    reduction = fit_reduction(raw, 8, mode)
    shuffled = fit_reduction(raw[::-1], 8, mode)

    greatest = np.abs(reduction.components).argmax(axis=0)
    assert (reduction.components[greatest, np.arange(8)] > 0).all()
    np.testing.assert_allclose(shuffled.apply(raw), reduction.apply(raw), atol=1e-4)


@pytest.mark.parametrize("components", [0, -1, 10, 25])
def test_impossible_number_of_components_is_refused(components: int) -> None:
    """Ten items give at most nine directions; the error names the setting and the bounds."""
    with pytest.raises(ConfigError, match=rf"^rat\.components is {components}, but 10 items of width 24 allow 1 to 9$"):
        fit_reduction(raw_embeddings(num_items=10), components, "whiten")


def test_width_bounds_the_components_too() -> None:
    """As many directions as coordinates is the most; one more is refused."""
    raw = raw_embeddings(width=6)

    assert fit_reduction(raw, 6, "whiten").components.shape == (6, 6)
    with pytest.raises(ConfigError, match="allow 1 to 6"):
        fit_reduction(raw, 7, "whiten")


def test_direction_without_variance_stays_small() -> None:
    """Whitening does not blow up the rounding of directions in which no item differs."""
    raw = raw_embeddings()
    raw[:, 12:] = raw[:, :12] @ np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)

    white = fit_reduction(raw, 20, "whiten").apply(raw)

    assert np.abs(white[:, 12:]).max() < 1e-2


@pytest.mark.parametrize("mode", ["whiten", "pca"])
def test_equal_vectors_are_refused(mode: ReductionMode) -> None:
    """Items that all have one raw embedding give no direction: an error, not a table of NaN."""
    raw = np.repeat(raw_embeddings(num_items=1), 10, axis=0)

    with pytest.raises(DataError, match=r"^all 10 items have the same raw embedding"):
        fit_reduction(raw, 2, mode)


def test_reduction_and_projection_give_float32() -> None:
    """What is computed in float64 comes out as float32."""
    raw = raw_embeddings()
    reduction = fit_reduction(raw, 4, "whiten")
    projection = fold(reduction, [])

    assert (reduction.mean.dtype, reduction.components.dtype) == (np.float64, np.float64)
    assert (projection.weight.dtype, projection.bias.dtype) == (np.float32, np.float32)
    assert (reduction.apply(raw).dtype, projection.apply(raw).dtype) == (np.float32, np.float32)


def test_projection_is_the_affine_map() -> None:
    """`x @ weight + bias`, by hand, for one vector and for none."""
    projection = Projection(
        np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32), np.array([10, 20, 30], dtype=np.float32)
    )

    assert projection.dim == 3
    assert projection.apply(np.array([[1, 2]], dtype=np.float32)).tolist() == [[11, 26, 32]]
    assert projection.apply(np.empty((0, 2), dtype=np.float32)).shape == (0, 3)


def test_huge_coordinates_cancel_exactly() -> None:
    """A small difference of huge coordinates survives: sums are in float64."""
    projection = Projection(np.ones((2, 1), dtype=np.float32), np.array([-1e8], dtype=np.float32))
    reduction = Reduction(mean=np.array([1e8 + 0.25]), components=np.array([[4.0]]))

    assert projection.apply(np.array([[1e8, 3]], dtype=np.float32)).tolist() == [[3]]
    assert reduction.apply(np.array([[1e8]], dtype=np.float32)).tolist() == [[-1]]


def test_layers_are_folded_in_the_order_they_run() -> None:
    """Reduction, first layer, second layer: by hand."""
    reduction = Reduction(mean=np.array([1.0, 1.0]), components=np.array([[2.0], [0.0]]))
    first = (np.array([[1, 3]], dtype=np.float32), np.array([5, 0], dtype=np.float32))
    second = (np.array([[1], [1]], dtype=np.float32), np.array([100], dtype=np.float32))

    # x = (4, 9): reduced 2 * 3 = 6; first (6 + 5, 18); second 11 + 18 + 100.
    assert fold(reduction, [first, second]).apply(np.array([[4, 9]], dtype=np.float32)).tolist() == [[129]]


def test_unit_length_keeps_the_direction() -> None:
    """By hand, for a table and for one vector; a zero vector stays zero, and a huge one does not overflow."""
    vectors = np.array([[3, 4], [0, 0], [1e30, 0]], dtype=np.float32)

    np.testing.assert_allclose(unit_length(vectors), [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(unit_length(vectors[0]), unit_length(vectors)[0])
    assert unit_length(vectors).dtype == np.float32


def test_projection_is_made_again_of_its_arrays() -> None:
    """These arrays are the whole projection."""
    projection = Projection(np.ones((2, 3), dtype=np.float32), np.zeros(3, dtype=np.float32))

    again = Projection(**projection.arrays())

    assert (again.weight is projection.weight, again.bias is projection.bias) == (True, True)
