"""`benchmarks.peer_files`: peers train on the targets that we train on."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.peer_files import write_peer_files
from llmemb.sequence_models.sequence_model import Objective
from llmemb_training.data.dataset import Dataset, DatasetInfo
from llmemb_training.rat.batches import cut_windows

MAX_LENGTH = 2


@pytest.fixture
def dataset() -> Dataset:
    """5 warm items and a cold one; histories of 6, 3 and 1 items, of a user whose id holds a tab too."""
    return Dataset(
        info=DatasetInfo(domain="movie", attribute_names=("title",), num_warm=5, counts={}),
        items=pl.DataFrame({"item_id": list("abcdef"), "attributes": ["{}"] * 6, "train_count": [1] * 6}),
        sequences=pl.DataFrame({"user_id": ["long", "a\tb", "one"], "item_rows": [[0, 1, 2, 3, 1, 4], [3, 1, 0], [2]]}),
        cold=pl.DataFrame(),
    )


def test_files_hold_the_targets_of_our_split(dataset: Dataset, tmp_path: Path) -> None:
    """Training: every item but the first of a training history; validation and test: one line a user of three items."""
    write_peer_files(dataset, tmp_path / "data", MAX_LENGTH)

    parts = {part: _lines(tmp_path / "data" / f"data.{part}.inter") for part in ("train", "valid", "test")}
    assert parts["train"] == [("0", "1", "0"), ("0", "2", "0 1"), ("0", "3", "1 2")]
    assert parts["valid"] == [("0", "1", "2 3"), ("1", "1", "3")]
    assert parts["test"] == [("0", "4", "3 1"), ("1", "0", "3 1")]
    windows = cut_windows(dataset.train, MAX_LENGTH, "next_item")
    ours = Counter(str(row) for window in windows for row in window[1:])
    assert Counter(target for _, target, _ in parts["train"]) == ours


def test_masked_items_are_those_of_the_targets_too(dataset: Dataset, tmp_path: Path) -> None:
    """RecBole's BERT4Rec never reads a sample's target, so that its history ends with it."""
    write_peer_files(dataset, tmp_path / "data", MAX_LENGTH, "masked_item")

    assert _lines(tmp_path / "data" / "data.train.inter") == [("0", "1", "0 1"), ("0", "2", "1 2"), ("0", "3", "2 3")]
    assert _lines(tmp_path / "data" / "data.test.inter") == [("0", "4", "3 1"), ("1", "0", "3 1")]


@pytest.mark.parametrize("objective", ["next_item", "masked_item"])
def test_windows_are_those_that_ours_reads(objective: Objective, dataset: Dataset, tmp_path: Path) -> None:
    """One after the other, with their lengths."""
    write_peer_files(dataset, tmp_path / "data", MAX_LENGTH, objective)
    windows = cut_windows(dataset.train, MAX_LENGTH, objective)

    with np.load(tmp_path / "data" / "windows.npz") as arrays:
        assert arrays["lengths"].tolist() == [len(window) for window in windows]
        assert arrays["rows"].tolist() == np.concatenate(windows).tolist()


def test_every_warm_item_is_ranked(dataset: Dataset, tmp_path: Path) -> None:
    """RecBole's softmax is over the items of ours, also those in no history; cold items stay out."""
    write_peer_files(dataset, tmp_path / "data", MAX_LENGTH)

    lines = (tmp_path / "data" / "data.item").read_text(encoding="utf-8").splitlines()
    assert lines == ["item_id:token", "0", "1", "2", "3", "4"]


def test_test_histories_are_padded_on_the_right(dataset: Dataset, tmp_path: Path) -> None:
    write_peer_files(dataset, tmp_path / "data", 4)

    with np.load(tmp_path / "data" / "test.npz") as arrays:
        assert arrays["histories"].tolist() == [[1, 2, 3, 1], [3, 1, -1, -1]]
        assert arrays["targets"].tolist() == [4, 0]
    with np.load(tmp_path / "data" / "valid.npz") as arrays:
        assert arrays["histories"].tolist() == [[0, 1, 2, 3], [3, -1, -1, -1]]
        assert arrays["targets"].tolist() == [1, 1]


def _lines(path: Path) -> list[tuple[str, ...]]:
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    assert head == "user_id:token\titem_id:token\titem_id_list:token_seq"
    return [tuple(line.split("\t")) for line in lines]
