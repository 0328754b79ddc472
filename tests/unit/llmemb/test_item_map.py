"""`llmemb.item_map`: the map of PCA, and the positions of later items."""

import numpy as np
import pytest

from llmemb.item_map import MAX_LAID_OUT, NEIGHBOURS, laid_out_rows, pca_positions, place_near_neighbours


def test_map_keeps_what_lies_in_a_plane() -> None:
    """Distances within a plane stay the same up to one scale."""
    random = np.random.default_rng(1)
    plane = random.normal(size=(50, 2)) @ np.linalg.qr(random.normal(size=(7, 2)))[0].T
    embeddings = (plane + random.normal(size=7)).astype(np.float32)
    positions = pca_positions(embeddings)

    before = np.linalg.norm(embeddings[:, None] - embeddings, axis=2)
    after = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.testing.assert_allclose(after, before * (after[0, 1] / before[0, 1]), atol=1e-5)
    assert np.abs(positions).max() == pytest.approx(1)


def test_first_axis_has_the_greatest_variance() -> None:
    """Both axes are centred."""
    embeddings = np.random.default_rng(2).normal(size=(200, 5)).astype(np.float32) * [1, 5, 2, 1, 1]
    positions = pca_positions(embeddings.astype(np.float32))

    assert positions[:, 0].var() > positions[:, 1].var() > 0
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (3, 1), (5, 4)])
def test_catalogue_with_less_than_two_directions(shape: tuple[int, int]) -> None:
    """The directions that exist are shown, and the other axes are 0."""
    same = np.ones(shape, dtype=np.float32)
    line = same * np.arange(shape[0], dtype=np.float32)[:, None]

    assert not pca_positions(same).any()
    positions = pca_positions(line)
    assert np.isfinite(positions).all()
    assert np.abs(positions[:, 0]).max() == pytest.approx(1 if shape[0] > 1 else 0)
    np.testing.assert_allclose(positions[:, 1], 0, atol=1e-6)


def test_item_is_placed_at_the_median_of_its_nearest_neighbours() -> None:
    """The neighbours are the ten with the highest cosines, whatever the lengths; each coordinate has its own median."""
    random = np.random.default_rng(3)
    laid_out = random.normal(size=(60, 6)).astype(np.float32) * random.uniform(0.1, 9, (60, 1)).astype(np.float32)
    positions = random.uniform(-1, 1, (60, 2)).astype(np.float32)
    embeddings = random.normal(size=(300, 6)).astype(np.float32)  # more than one chunk
    cosines = embeddings @ (laid_out / np.linalg.norm(laid_out, axis=1, keepdims=True)).T
    nearest = np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]

    placed = place_near_neighbours(embeddings, laid_out, positions)
    np.testing.assert_array_equal(placed, np.median(positions[nearest], axis=1))


def test_all_items_are_neighbours_in_a_small_catalogue() -> None:
    """With fewer than ten items, an item is placed at the median of all of them."""
    positions = np.array([[0, 0], [1, -1], [0.5, 0.25]], dtype=np.float32)
    placed = place_near_neighbours(np.ones((2, 4), np.float32), np.eye(3, 4, dtype=np.float32), positions)

    assert placed.tolist() == [[0.5, 0], [0.5, 0]]


def test_items_that_are_laid_out_are_bounded_and_spread_over_the_rows() -> None:
    """A small catalogue is laid out whole; of a large one, the first and the last row are in the sample."""
    rows = laid_out_rows(3 * MAX_LAID_OUT)

    assert laid_out_rows(5).tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(rows)) == MAX_LAID_OUT
    assert (rows[0], rows[-1]) == (0, 3 * MAX_LAID_OUT - 1)
    assert set(np.diff(rows).tolist()) <= {2, 3, 4}
