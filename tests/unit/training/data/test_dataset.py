"""`llmemb_training.data.dataset`: the prepared dataset on disk, and its three splits."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmemb_training.data.dataset import Dataset, DatasetInfo, count_train, read_dataset, write_dataset

SEQUENCES = {"long": [0, 1, 2, 0, 3], "three": [3, 1, 0], "two": [2, 1], "one": [0]}
COLD = {"long": [], "three": [4], "two": [4], "one": []}


@pytest.fixture
def dataset() -> Dataset:
    """4 warm items and a cold one, and histories of 5, 3, 2 and 1 items."""
    sequences = pl.DataFrame(
        {"user_id": list(SEQUENCES), "item_rows": list(SEQUENCES.values()), "cold_rows": list(COLD.values())}
    )
    return Dataset(
        info=DatasetInfo(
            domain="movie",
            instruction="a {domain}: ",
            attribute_names=("title", "genres"),
            num_warm=4,
            counts={"users_kept": 4},
        ),
        items=pl.DataFrame(
            {
                "item_id": ["a", "b", "c", "d", "cold"],
                "attributes": [f'{{"title":"{n}","genres":["x","y"]}}' for n in "abcde"],
                "train_count": count_train(sequences, 5),
            }
        ),
        sequences=sequences,
        cold=pl.DataFrame({"user_id": ["two"], "history_rows": [[2]], "target_row": [4]}),
    )


def test_splits_leave_the_last_two_out(dataset: Dataset) -> None:
    """The last item is the test's, the one before it validation's; a history shorter than three trains whole."""
    assert [rows.tolist() for rows in dataset.train] == [[0, 1, 2], [3], [2, 1], [0]]
    assert dataset.validation.user_ids == dataset.test.user_ids == ("long", "three")
    assert [rows.tolist() for rows in dataset.validation.histories] == [[0, 1, 2], [3]]
    assert dataset.validation.rows.tolist() == [0, 1]
    assert [rows.tolist() for rows in dataset.test.histories] == [[0, 1, 2, 0], [3, 1]]
    assert dataset.test.rows.tolist() == [3, 0]


def test_popularity_counts_the_training_part_alone(dataset: Dataset) -> None:
    """Neither validation nor test counts; an item in neither part has 0."""
    counted = np.bincount(np.concatenate(dataset.train), minlength=5)

    assert dataset.train_counts.tolist() == counted.tolist() == [2, 2, 2, 1, 0]


def test_counts_of_no_interactions_are_zero() -> None:
    """Items without a single training interaction are counted too."""
    sequences = pl.DataFrame({"user_id": [], "item_rows": []}, schema={"user_id": pl.String, "item_rows": pl.List(int)})

    assert count_train(sequences, 3).tolist() == [0, 0, 0]


def test_cold_targets_are_as_written(dataset: Dataset) -> None:
    """A cold target comes with its user's history before it."""
    targets = dataset.cold_targets

    assert targets.user_ids == ("two",)
    assert [rows.tolist() for rows in targets.histories] == [[2]]
    assert targets.rows.tolist() == [4]


def test_interacted_is_the_whole_history_and_the_cold_items(dataset: Dataset) -> None:
    """What a user did in any split, with whatever item, is no negative for that user."""
    assert {user: rows.tolist() for user, rows in dataset.interacted.items()} == {
        user: [*SEQUENCES[user], *COLD[user]] for user in SEQUENCES
    }


def test_dataset_reads_back_as_it_was_written(dataset: Dataset, tmp_path: Path) -> None:
    """Files lose nothing."""
    write_dataset(tmp_path, dataset)
    read = read_dataset(tmp_path)

    assert read.info == dataset.info
    assert read.items.equals(dataset.items)
    assert read.sequences.equals(dataset.sequences)
    assert read.cold.equals(dataset.cold)


def test_items_of_the_bundle_are_the_dataset_s(dataset: Dataset) -> None:
    """Row r of the dataset is row r of the bundle, and the prompt knows the dataset's attributes."""
    items = dataset.bundle_items()

    assert items.ids == ("a", "b", "c", "d", "cold")
    assert items.popularity.tolist() == dataset.train_counts.tolist()
    assert items.attributes(0) == dataset.attributes()[0] == {"title": "a", "genres": ("x", "y")}
    assert dataset.prompt(7).attribute_names == ("title", "genres")
    assert dataset.prompt(7).max_value_characters == 7
    assert dataset.prompt(7).beginning == "a movie: title is "
