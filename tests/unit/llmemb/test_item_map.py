"""`llmemb.item_map`: items on a plane."""

from pathlib import Path

import numpy as np
import pytest

from llmemb.bundle import read_bundle
from llmemb.item_map import fit_item_map


def test_map_keeps_what_lies_in_a_plane() -> None:
    """Distances within it stay as they are, up to the one scale."""
    random = np.random.default_rng(1)
    plane = random.normal(size=(50, 2)) @ np.linalg.qr(random.normal(size=(7, 2)))[0].T
    embeddings = (plane + random.normal(size=7)).astype(np.float32)
    places = fit_item_map(embeddings).apply(embeddings)

    before = np.linalg.norm(embeddings[:, None] - embeddings, axis=2)
    after = np.linalg.norm(places[:, None] - places, axis=2)
    np.testing.assert_allclose(after, before * (after[0, 1] / before[0, 1]), atol=1e-5)
    assert np.abs(places).max() == pytest.approx(1)


def test_first_axis_has_the_greatest_variance() -> None:
    """And both are centred."""
    embeddings = np.random.default_rng(2).normal(size=(200, 5)).astype(np.float32) * [1, 5, 2, 1, 1]
    places = fit_item_map(embeddings.astype(np.float32)).apply(embeddings.astype(np.float32))

    assert places[:, 0].var() > places[:, 1].var() > 0
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (3, 1), (5, 4)])
def test_catalogue_with_less_than_two_directions(shape: tuple[int, int]) -> None:
    """What there is of them is shown, and the rest is 0."""
    same = np.ones(shape, dtype=np.float32)
    line = same * np.arange(shape[0], dtype=np.float32)[:, None]

    assert not fit_item_map(same).apply(same).any()
    places = fit_item_map(line).apply(line)
    assert np.isfinite(places).all()
    assert np.abs(places[:, 0]).max() == pytest.approx(1 if shape[0] > 1 else 0)
    np.testing.assert_allclose(places[:, 1], 0, atol=1e-6)


def test_bundle_without_a_map_gets_the_one_that_would_be_written(full_bundle: Path) -> None:
    """So that old bundles are shown as new ones are."""
    bundle = read_bundle(full_bundle)
    fitted = fit_item_map(bundle.item_embeddings)

    assert bundle.stored_map is not None
    assert bundle.item_map is bundle.stored_map
    np.testing.assert_array_equal(fitted.weight, bundle.item_map.weight)
    np.testing.assert_array_equal(fitted.bias, bundle.item_map.bias)
