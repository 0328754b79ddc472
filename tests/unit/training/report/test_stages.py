"""`llmemb_training.report.stages` and `item_map`: neighbours, agreement with the groups, and the map."""

import numpy as np
import pytest
from numpy.typing import NDArray

from llmemb.scoring.projection import unit_length
from llmemb_training.report.item_map import SIDE, draw_map, lay_out
from llmemb_training.report.stages import Stage, chance_agreement, group_agreement, nearest, raw_stage, trained_stage
from tests.support.items import dataset_of


def clusters(seed: int, sizes: tuple[int, ...], width: int = 12) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors around a few centres, and which centre each is around."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    centres = 5 * random.standard_normal((len(sizes), width))
    return (centres[groups] + random.standard_normal((len(groups), width))).astype(np.float32), groups


def test_nearest_are_the_others_by_cosine() -> None:
    """The item itself is no neighbour; of equals the first row goes first; length plays no part."""
    vectors = np.array([[1, 0], [9, 1], [0, 2], [3, 0], [3, 0]], dtype=np.float32)
    found = nearest(trained_stage("After RAT", vectors), [0, 2], 3)

    assert [one.row for one in found[0]] == [3, 4, 1]
    assert [one.cosine for one in found[0]] == pytest.approx([1.0, 1.0, 9 / np.sqrt(82)])
    assert [one.row for one in found[1]] == [1, 0, 3]


def test_nearest_of_a_sample_are_rows_of_the_catalogue() -> None:
    """A stage that knows some items only gives neighbours by their rows."""
    stage = Stage("Before SCFT", np.array([4, 7, 9]), unit_length(np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)))

    assert [one.row for one in nearest(stage, [7], 5)[0]] == [9, 4]
    assert stage.of(np.array([9, 4])).tolist() == stage.vectors[[2, 0]].tolist()


def test_raw_vectors_are_compared_apart_from_what_all_share() -> None:
    """A huge common part, as an LLM's vectors have it, does not make all items alike."""
    raw, groups = clusters(0, (8, 8))
    stage = raw_stage("After SCFT", np.arange(16), raw + 1000, raw[::2] + 1000)

    assert np.linalg.norm(stage.vectors, axis=1) == pytest.approx(np.ones(16), abs=1e-5)
    assert group_agreement(stage.vectors, groups, num_neighbours=5) == 1.0


def test_agreement_counts_the_items_of_groups_alone() -> None:
    """By hand: of the two nearest of each grouped item, how many are of its group."""
    angles = np.radians([0, 1, 2, 90, 91, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = np.array([0, 0, 1, 1, 1, -1])

    # 0: {1, 2}, 1: {0, 2}, 2: {1, 0}, 3: {4, 2}, 4: {3, 5 or 2}: 2 is 89 degrees away, 5 too; the first goes first.
    assert group_agreement(vectors, groups, num_neighbours=2) == pytest.approx((1 + 1 + 0 + 2 + 2) / 10, abs=0.11)
    assert chance_agreement(groups) == pytest.approx((2 * 1 / 5 + 3 * 2 / 5) / 5)


def test_random_vectors_agree_by_chance() -> None:
    """The chance level is what vectors that know nothing reach."""
    random = np.random.default_rng(0)
    vectors = unit_length(random.standard_normal((400, 8), dtype=np.float32))
    groups = random.integers(-1, 3, 400)

    assert group_agreement(vectors, groups) == pytest.approx(chance_agreement(groups), abs=0.03)


def test_map_keeps_clusters_together_and_in_their_place() -> None:
    """Items of a cluster are near each other, and a stage that changes nothing leaves the clusters where they were."""
    vectors, groups = clusters(1, (20, 20, 20))
    stage = trained_stage("After RAT", vectors)
    first, second = lay_out([stage, stage], np.arange(60), seed=3)
    centres = [np.array([laid[groups == group].mean(axis=0) for group in range(3)]) for laid in (first, second)]
    spread = max(np.linalg.norm(first[groups == group] - centres[0][group], axis=1).mean() for group in range(3))

    assert all(0 <= laid.min() < 1e-9 and 1 - 1e-9 < laid.max() <= 1 for laid in (first, second))
    assert spread < 0.25
    assert np.abs(centres[0] - centres[1]).max() < 0.25


def test_map_is_the_same_each_time() -> None:
    """The seed decides it."""
    dataset = dataset_of([{"title": f"t{row}", "tags": [f"g{row % 3}"]} for row in range(24)])
    stage = trained_stage("After RAT", clusters(2, (8, 8, 8))[0])

    drawn = [draw_map(dataset, [stage], np.arange(24), seed) for seed in (1, 1)]

    assert drawn[0] == drawn[1]


def test_map_draws_items_without_a_group_first() -> None:
    """They are under the others; points, groups and texts stand in one order, inside the drawing."""
    dataset = dataset_of([{"tags": ["rare" + str(row)] if row % 4 == 0 else [f"g{row % 2}"]} for row in range(24)])
    drawn = draw_map(dataset, [trained_stage("After RAT", clusters(2, (12, 12))[0])], np.arange(24), 1)

    assert drawn is not None
    assert list(drawn.groups) == sorted(drawn.groups)
    assert [entry.size for entry in drawn.legend] == [12, 6, 6]
    assert drawn.legend[-1].group == -1
    assert {item.name for item, group in zip(drawn.items, drawn.groups, strict=True) if group == 0} == {"g1"}
    assert all(0 < coordinate < SIDE for point in drawn.panels[0].points for coordinate in point)


def test_few_items_make_no_map() -> None:
    """Seven items have no neighbourhoods to draw."""
    dataset = dataset_of([{"title": str(row)} for row in range(7)])

    assert draw_map(dataset, [trained_stage("After RAT", clusters(0, (7,))[0])], np.arange(7), 1) is None


def test_map_without_groups_has_no_colours() -> None:
    """Items that share nothing are drawn all the same."""
    dataset = dataset_of([{"title": str(row)} for row in range(10)])
    drawn = draw_map(dataset, [trained_stage("After RAT", clusters(0, (10,))[0])], np.arange(10), 1)

    assert drawn is not None
    assert (drawn.attribute, drawn.chance, drawn.panels[0].agreement) == ("", None, None)
    assert set(drawn.groups) == {-1}
