"""`llmemb_training.data.pseudo_cold`: a fold without some items, and no test target in it."""

import numpy as np
import polars as pl
import pytest

from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.data.pseudo_cold import Fold, hold_out
from tests.support.prepared import write_prepared


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read_dataset(write_prepared(tmp_path_factory.mktemp("prepared")))


@pytest.fixture(scope="module")
def fold(dataset: Dataset) -> Fold:
    """A sixth of the warm items held out, three interactions of each."""
    return hold_out(dataset, 1 / 6, 3, np.random.default_rng(4))


def test_rows_are_those_of_the_whole_dataset_in_order(dataset: Dataset, fold: Fold) -> None:
    """The kept items in their order, then the held-out ones; the cold items of the whole are not there."""
    kept, hidden = fold.order[: fold.dataset.num_warm], fold.order[fold.dataset.num_warm :]

    assert len(hidden) == round(dataset.num_warm / 6)
    assert sorted(fold.order) == list(range(dataset.num_warm))
    assert (np.diff(kept) > 0).all()
    assert fold.dataset.items["item_id"].to_list() == dataset.items["item_id"].gather(fold.order).to_list()


def test_histories_lack_the_held_out_items(dataset: Dataset, fold: Fold) -> None:
    """And nothing else; they are not trained on, and no training count of theirs is left."""
    hidden = set(fold.order[fold.dataset.num_warm :].tolist())
    for whole, rest in zip(dataset.histories, fold.dataset.histories, strict=True):
        assert fold.order[rest].tolist() == [row for row in whole.tolist() if row not in hidden]
    assert not fold.dataset.train_counts[fold.dataset.num_warm :].any()
    trained = np.bincount(np.concatenate(fold.dataset.train), minlength=len(fold.order))
    assert fold.dataset.train_counts.tolist() == trained.tolist()


def test_no_test_target_is_looked_at(dataset: Dataset, fold: Fold) -> None:
    """Neither in training nor as a target: with other test items the fold is the same, but for its own test targets."""
    changed = dataset.sequences.with_columns(
        item_rows=pl.Series(
            [
                [*rows[:-1].tolist(), (rows[-1] + 1) % dataset.num_warm] if len(rows) >= 3 else rows.tolist()
                for rows in dataset.histories
            ]
        )
    )
    other = hold_out(Dataset(dataset.info, dataset.items, changed, dataset.cold), 1 / 6, 3, np.random.default_rng(4))
    targets, others = fold.dataset.cold_targets, other.dataset.cold_targets

    assert targets.user_ids == others.user_ids
    assert targets.rows.tolist() == others.rows.tolist()
    assert [rows.tolist() for rows in targets.histories] == [rows.tolist() for rows in others.histories]
    hidden = set(fold.order[fold.dataset.num_warm :].tolist())
    for whole, train in zip(dataset.histories, fold.dataset.train, strict=True):
        if len(whole) >= 3:
            allowed = [row for row in whole[:-1].tolist() if row not in hidden]
            assert fold.order[train].tolist() == allowed[: len(train)]


def test_targets_are_first_interactions_after_kept_items(dataset: Dataset, fold: Fold) -> None:
    """At most three of each held-out item, each after the kept items before it."""
    targets = fold.dataset.cold_targets
    by_user = dict(zip(dataset.sequences["user_id"], dataset.histories, strict=True))

    assert len(targets.rows) > 0
    assert (targets.rows >= fold.dataset.num_warm).all()
    assert np.bincount(targets.rows).max() == 3
    for user, history, row in zip(targets.user_ids, targets.histories, targets.rows, strict=True):
        assert len(history) > 0
        assert (history < fold.dataset.num_warm).all()
        whole = by_user[user].tolist()
        places = [place for place, each in enumerate(whole[:-1]) if each == fold.order[row]]
        kept_before = [
            [each for each in whole[:place] if each in set(fold.order[: fold.dataset.num_warm])] for place in places
        ]
        assert fold.order[history].tolist() in kept_before


def test_mixed_targets_follow_a_held_out_item(dataset: Dataset, fold: Fold) -> None:
    """Validation targets of the whole dataset, kept themselves, with a held-out item in the history."""
    num_kept = fold.dataset.num_warm
    found = {
        (user, tuple(fold.order[history]), int(fold.order[row]))
        for user, history, row in zip(fold.mixed.user_ids, fold.mixed.histories, fold.mixed.rows, strict=True)
    }
    hidden = set(fold.order[num_kept:].tolist())
    whole = dataset.validation

    assert found == {
        (user, tuple(history), int(row))
        for user, history, row in zip(whole.user_ids, whole.histories, whole.rows, strict=True)
        if row not in hidden and hidden & set(history.tolist())
    }
    assert found
