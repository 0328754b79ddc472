"""`scft.batches`: which texts a batch holds, what is pulled together in it, and what counts as a negative."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import DataError
from llmemb.scoring.semantic_term import recency_weights
from llmemb_training.config import ScftConfig
from llmemb_training.scft.batches import Batches, NextPairs

NAMES = ("title", "year", "maker", "colour")
NUM_ITEMS = 9
ITEMS = [json.dumps({name: f"{name} of {row}" for name in NAMES}) for row in range(NUM_ITEMS)]
HISTORIES = [[0, 1, 2], [3], [2, 4, 0, 5], [6, 7], [8]]


def make(
    histories: Sequence[Sequence[int]] = HISTORIES,
    items: Sequence[str] = ITEMS,
    *,
    seed: int = 3,
    names: tuple[str, ...] = NAMES,
    **values: object,
) -> Batches:
    """Make batches of all histories, or of what `values` say."""
    config = ScftConfig.model_validate({"positives": "next", "batch_histories": 9, "drop_share": 0.5} | values)
    rows = [np.array(history, dtype=np.int64) for history in histories]
    return Batches(items, len(items), rows, PromptSpec("thing", names), config, seed)


def pairs_of(batches: Batches, step: int = 0) -> tuple[np.ndarray, NextPairs]:
    """Return a batch's rows and the pairs of its histories."""
    batch = batches[step]
    assert batch.next_pairs is not None
    return batch.rows, batch.next_pairs


def positives_of(batches: Batches) -> list[int]:
    """Return the positive item rows of all batches."""
    found: list[int] = []
    for step in range(len(batches)):
        rows, pairs = pairs_of(batches, step)
        found += rows[pairs.positives].tolist()
    return found


def test_every_step_is_a_pair() -> None:
    """Each item of a history after its first is a positive once an epoch; histories of one item give none."""
    batches = make()

    assert len(batches) == 1
    assert batches.num_pairs == batches[0].num_pairs == 6
    assert sorted(positives_of(batches)) == [0, 1, 2, 4, 5, 7]
    assert batches[0].rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert len(batches[0].views) == 7
    assert batches[0].second_views == []


def test_queries_are_the_recency_weighted_items_before() -> None:
    """The last `history` items before a step, weighed as the semantic term weighs them, and nothing else."""
    rows, pairs = pairs_of(make([[5, 3, 8, 1, 0]], history=3, decay=0.5))
    place = {int(row): i for i, row in enumerate(rows)}
    expected = np.zeros((4, 5), dtype=np.float32)
    for step, before in enumerate([[5], [5, 3], [5, 3, 8], [3, 8, 1]]):
        expected[step, [place[row] for row in before]] = recency_weights(len(before), 0.5)

    assert rows[pairs.positives].tolist() == [3, 8, 1, 0]
    np.testing.assert_array_equal(pairs.weights, expected)


def test_an_item_taken_twice_is_weighed_twice() -> None:
    """Its weights add up, and it may be the positive although it stands in its own history."""
    rows, pairs = pairs_of(make([[4, 7, 4, 4]], decay=1.0))

    assert rows.tolist() == [4, 7]
    np.testing.assert_allclose(pairs.weights, [[1, 0], [1 / 2, 1 / 2], [2 / 3, 1 / 3]], rtol=1e-6)
    assert pairs.masked.tolist() == [[True, False], [False, True], [False, True]]


def test_items_of_the_history_are_no_negatives() -> None:
    """Neither those before a step nor those after it; all others of the batch are, and the positive is never masked."""
    rows, pairs = pairs_of(make())
    for step, positive in enumerate(rows[pairs.positives]):
        (history,) = [set(h) for h in HISTORIES if len(h) > 1 and _holds(h, rows, pairs, step)]
        assert set(rows[pairs.masked[step]].tolist()) == history - {int(positive)}


def _holds(history: list[int], rows: np.ndarray, pairs: NextPairs, step: int) -> bool:
    """Tell whether a step is of this history: by its positive, and by what is before it."""
    before = set(rows[pairs.weights[step] > 0].tolist())
    positive = int(rows[pairs.positives[step]])
    return positive in history and before == set(history[: history.index(positive)])


def test_items_that_read_the_same_are_no_negatives() -> None:
    """An item of the same attributes as one of the history is masked, whatever its view shows."""
    items = [*ITEMS[:8], ITEMS[1]]  # 8 reads as 1
    rows, pairs = pairs_of(make([[0, 1], [8, 5]], items))
    masked = {(int(rows[pairs.positives[step]]), int(row)) for step in range(2) for row in rows[pairs.masked[step]]}

    assert masked == {(1, 0), (1, 8), (5, 8), (5, 1)}


def test_items_whose_views_read_the_same_are_no_negatives() -> None:
    """Different items of which this batch shows the same: one attribute is left, and it is equal."""
    items = [json.dumps({"maker": "A", "colour": colour}) for colour in ("red", "blue", "green", "black")]
    batches = make([[0, 1], [2, 3]], items, names=("maker", "colour"), max_pairs=40)
    different = 0
    for step in range(len(batches)):
        batch = batches[step]
        assert batch.next_pairs is not None
        views = np.array(batch.views)
        alike = (views[:, None] == views) & ~np.eye(4, dtype=bool)
        for pair, positive in enumerate(batch.next_pairs.positives):
            history = [0, 1] if batch.rows[positive] in (0, 1) else [2, 3]
            expected = np.isin(batch.rows, history) | alike[history].any(axis=0)
            expected[positive] = False
            assert batch.next_pairs.masked[pair].tolist() == expected.tolist()
            different += int(expected.sum()) - 1
        assert batch.alike.tolist() == alike.tolist()

    assert different > 0


def test_views_are_of_the_paper_s_kind() -> None:
    """Two views of each item, half of its own attributes each, drawn independently; every item once an epoch."""
    batches = make(positives="views", batch_items=3)
    rows = [batches[step].rows.tolist() for step in range(3)]

    assert [batches[step].next_pairs for step in range(3)] == [None] * 3
    assert sorted(row for part in rows for row in part) == list(range(NUM_ITEMS))
    assert batches.num_pairs == NUM_ITEMS
    different = 0
    for step in range(3):
        batch = batches[step]
        for row, *views in zip(batch.rows, batch.views, batch.second_views, strict=True):
            lines = [view.splitlines()[1].split("; ") for view in views]
            assert [len(line) for line in lines] == [2, 2]
            assert {part for line in lines for part in line} <= {f"{name} is {name} of {row}" for name in NAMES}
            different += views[0] != views[1]
    assert different > 0


def test_both_kinds_are_counted() -> None:
    """A batch of histories with two views of each of its items: steps and items are pairs."""
    batch = make(positives="both")[0]

    assert len(batch.second_views) == len(batch.views) == 7
    assert batch.num_pairs == 6 + 7


@pytest.mark.parametrize("positives", ["views", "next", "both"])
def test_a_batch_is_always_the_same(positives: str) -> None:
    """However often it is made; another seed or epoch gives another batch."""
    options = {"positives": positives, "epochs": 2, "batch_items": 9}
    batches, again, other = (make(seed=seed, **options) for seed in (3, 3, 4))
    first, second = batches[0], batches[1]

    assert len(batches) == 2
    assert again[1].views == second.views
    assert again[0].views == first.views
    assert again[0].second_views == first.second_views
    assert first.views != second.views
    assert first.views != other[0].views


def test_epochs_pass_over_all_histories_in_another_order() -> None:
    """Full batches of them; the remainder at the end of an epoch is not used."""
    histories = [[0, row] for row in range(1, 8)]
    batches = make(histories, batch_histories=3, epochs=2)
    rows = [set(batches[step].rows.tolist()) - {0} for step in range(4)]

    assert len(batches) == 4
    assert [len(part) for part in rows] == [3, 3, 3, 3]
    assert not rows[0] & rows[1]
    assert not rows[2] & rows[3]
    assert rows[:2] != rows[2:]


def test_pairs_bound_the_training() -> None:
    """As many passes as that takes, and no batch more; `epochs` then says nothing."""
    batches = make([[0, row] for row in range(1, 9)], batch_histories=4, max_pairs=10, epochs=1)

    assert [batches[step].num_pairs for step in range(len(batches))] == [4, 4, 4]
    assert [batches.num_pairs_before(step) for step in range(4)] == [0, 4, 8, 12]
    assert batches.num_pairs == 12


def test_long_histories_are_cut_at_a_random_place() -> None:
    """`history_window` items in a row, from another place in another epoch."""
    batches = make([list(range(9))], history_window=4, epochs=12)
    windows = {tuple(batches[step].rows.tolist()) for step in range(12)}

    assert windows <= {tuple(range(first, first + 4)) for first in range(6)}
    assert len(windows) > 2


def test_nothing_to_tell_apart_is_refused() -> None:
    """A catalogue in which all texts are alike; the error says what to do."""
    with pytest.raises(DataError, match=r"all 4 items have the same prompt, .*enabled = false"):
        make([[0, 1], [2, 3]], [ITEMS[0]] * 4)


@pytest.mark.parametrize("positives", ["next", "both"])
def test_histories_without_steps_are_refused(positives: str) -> None:
    """Where no history has two items; views need none."""
    with pytest.raises(
        DataError, match=rf"no training history has two items, .*'{positives}' needs: set it to 'views'"
    ):
        make([[0], [1]], positives=positives)

    assert make([[0], [1]], positives="views", batch_items=9).num_pairs == NUM_ITEMS
