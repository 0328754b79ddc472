"""The raw embeddings on disk: what `embed` writes, `rat` and `evaluate` read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from llmemb.files import save_arrays

RAW_EMBEDDINGS_FILE = "raw_embeddings.safetensors"


def save_raw_embeddings(raw: NDArray[np.float32], path: Path) -> None:
    """Write raw embeddings `(n, h)` to a file, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    save_arrays({"raw": raw}, temporary)
    temporary.replace(path)


def load_raw_embeddings(path: Path) -> NDArray[np.float32]:
    """Read what `save_raw_embeddings` wrote."""
    raw: NDArray[np.float32] = load_file(path)["raw"]
    return raw


def read_raw_embeddings(folder: Path) -> NDArray[np.float32]:
    """Read the raw embeddings `(N, h)` of an embed folder, row r of item row r."""
    return load_raw_embeddings(folder / RAW_EMBEDDINGS_FILE)
