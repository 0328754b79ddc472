"""The raw embeddings on disk: what `embed` writes, `rat` and `evaluate` read; at no time all of them in memory."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.files import save_arrays

RAW_EMBEDDINGS_FILE = "raw_embeddings.safetensors"

_TENSOR = "raw"
_FLOAT = np.dtype("<f4")


def save_raw_embeddings(raw: NDArray[np.float32], path: Path) -> None:
    """Write raw embeddings `(n, h)` to a file, whole or not at all, whoever else writes it at the same time."""
    temporary = _temporary(path)
    save_arrays({_TENSOR: raw}, temporary)
    temporary.replace(path)


def load_raw_embeddings(path: Path) -> NDArray[np.float32]:
    """Map what was written into memory; parts are read when they are used, and changes stay out of the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[_TENSOR]
    start = 8 + length + entry["data_offsets"][0]
    raw: NDArray[np.float32] = np.memmap(path, _FLOAT, "c", start, tuple(entry["shape"]))
    return raw


def read_raw_embeddings(folder: Path) -> NDArray[np.float32]:
    """Map the raw embeddings `(N, h)` of an embed folder into memory, row r of item row r."""
    return load_raw_embeddings(folder / RAW_EMBEDDINGS_FILE)


def join_raw_embeddings(shards: Sequence[Path], path: Path) -> tuple[int, int]:
    """Write the rows of several files, one after the other, into one, whole or not at all; return its shape."""
    shapes = [load_raw_embeddings(shard).shape for shard in shards]
    shape = (sum(rows for rows, _ in shapes), shapes[0][1])
    entry = {"dtype": "F32", "shape": shape, "data_offsets": (0, shape[0] * shape[1] * _FLOAT.itemsize)}
    header = json.dumps({_TENSOR: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shard in shards:  # mapped one at a time: what has been written need not stay in memory
            load_raw_embeddings(shard).tofile(file)
    temporary.replace(path)
    return shape


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
