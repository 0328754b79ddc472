"""`benchmarks.scft_quality`: the figures of embeddings whose neighbours are known."""

import numpy as np
import polars as pl
import pytest

from benchmarks.scft_quality import COLUMNS, measure_neighbours
from llmemb.errors import DataError
from llmemb_training.config import EvaluateConfig
from llmemb_training.data.dataset import Dataset, DatasetInfo

NUM_WARM, NUM_COLD, WIDTH = 40, 8, 12


def dataset_of(target_of: dict[int, int]) -> Dataset:
    """Return 20 users of a history of one item; validation is the item beside it, and the test what `target_of` says.

    Each cold item was taken after the warm one of the same number.
    """
    rows = [[row, row + 1, target_of.get(row, (row + 2) % NUM_WARM)] for row in range(0, NUM_WARM, 2)]
    users = [f"u{row[0]}" for row in rows]
    return Dataset(
        info=DatasetInfo(domain="thing", attribute_names=("title",), num_warm=NUM_WARM, counts={}),
        items=pl.DataFrame(
            {
                "item_id": [f"i{row}" for row in range(NUM_WARM + NUM_COLD)],
                "attributes": ["{}"] * (NUM_WARM + NUM_COLD),
                "train_count": [1] * 32 + [9] * 8 + [0] * NUM_COLD,
            }
        ),
        sequences=pl.DataFrame({"user_id": users, "item_rows": rows}),
        cold=pl.DataFrame(
            {
                "user_id": [f"u{2 * i}" for i in range(NUM_COLD)],
                "history_rows": [[i] for i in range(NUM_COLD)],
                "target_row": [NUM_WARM + i for i in range(NUM_COLD)],
            }
        ),
    )


def embeddings() -> np.ndarray:
    """Vectors in which rows 2 i and 2 i + 1 are alike, and cold row i and warm row i."""
    random = np.random.default_rng(0)
    raw = np.repeat(random.normal(size=(NUM_WARM // 2, WIDTH)), 2, axis=0)
    raw = np.concatenate([raw, raw[:NUM_COLD]])
    return (raw + 0.01 * random.normal(size=raw.shape)).astype(np.float32)


def test_known_neighbours_are_found() -> None:
    """The item beside the history's is first on validation; cold ones are found, the more so among themselves."""
    figures = measure_neighbours(dataset_of({}), embeddings(), 384, EvaluateConfig())

    assert tuple(figures) == COLUMNS
    assert figures["validation HR@10"] == 1
    assert figures["validation NDCG@10"] > 0.95
    assert figures["cold HR@10"] == 1
    assert figures["cold HR@10 among cold"] == 1
    assert figures["cold NDCG@10"] < 1
    assert figures["HR@10"] < 0.9


def test_tail_and_head_are_told_apart() -> None:
    """A test target beside the history's item is found; here those of the head alone are such."""
    # The last eight items are the head: users 32 to 38 take them, after an item of the same kind as the one before.
    data = dataset_of({row: row + 1 for row in range(32, NUM_WARM, 2)})
    figures = measure_neighbours(data, embeddings(), 384, EvaluateConfig(exclude_history=False))

    assert figures["head HR@10"] == 1
    assert figures["tail HR@10"] < 0.9


def test_other_items_are_refused() -> None:
    """Embeddings of another catalogue by their number."""
    with pytest.raises(DataError, match=r"47 raw embeddings, but the dataset has 48 items"):
        measure_neighbours(dataset_of({}), embeddings()[:-1], 4, EvaluateConfig())
