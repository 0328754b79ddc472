"""`llmemb_training.embedding.raw_embeddings`: mapped, joined, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from llmemb_training.embedding.raw_embeddings import join_raw_embeddings, load_raw_embeddings, save_raw_embeddings

RAW = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Ten rows in files of 4, 4 and 2."""
    paths = [tmp_path / f"shard-{start}" for start in (0, 4, 8)]
    for start, path in zip((0, 4, 8), paths, strict=True):
        save_raw_embeddings(RAW[start : start + 4], path)
    return paths


def test_joined_file_holds_all_rows_in_order(shards: list[Path], tmp_path: Path) -> None:
    """Any reader of the format reads it, and the mapping shows the same."""
    assert join_raw_embeddings(shards, tmp_path / "joined") == (10, 3)
    assert np.array_equal(load_file(tmp_path / "joined")["raw"], RAW)
    assert np.array_equal(load_raw_embeddings(tmp_path / "joined"), RAW)


def test_joined_file_is_what_is_saved_at_once(shards: list[Path], tmp_path: Path) -> None:
    """Byte by byte; and no temporary file stays."""
    join_raw_embeddings(shards, tmp_path / "joined")
    save_raw_embeddings(RAW, tmp_path / "saved")

    assert (tmp_path / "joined").read_bytes() == (tmp_path / "saved").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {*(path.name for path in shards), "joined", "saved"}


def test_changes_to_the_mapping_stay_in_memory(tmp_path: Path) -> None:
    """It can be written to, as torch wants, and the file keeps what it has."""
    save_raw_embeddings(RAW, tmp_path / "raw")
    raw = load_raw_embeddings(tmp_path / "raw")
    torch.from_numpy(raw[:4]).zero_()

    assert not raw[:4].any()
    assert np.array_equal(load_raw_embeddings(tmp_path / "raw"), RAW)
