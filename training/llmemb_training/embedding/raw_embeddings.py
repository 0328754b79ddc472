"""Files of raw embeddings, and the embedding of one shard of items."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from llmemb.encoder.encoder import Encoder
from llmemb.encoder.prompt import PromptSpec
from llmemb.files import save_arrays
from llmemb.item import attributes_from_json
from llmemb_training.data.dataset import DatasetInfo

RAW_EMBEDDINGS_FILE = "raw_embeddings.safetensors"

_TENSOR = "raw"
_FLOAT = np.dtype("<f4")


def save_raw_embeddings(raw: NDArray[np.float32], path: Path) -> None:
    """Write raw embeddings `(n, h)` to a file atomically, even with concurrent writers."""
    temporary = _temporary(path)
    save_arrays({_TENSOR: raw}, temporary)
    temporary.replace(path)


def load_raw_embeddings(path: Path) -> NDArray[np.float32]:
    """Memory-map a file of raw embeddings, copy-on-write: changes are not written to the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[_TENSOR]
    start = 8 + length + entry["data_offsets"][0]
    raw: NDArray[np.float32] = np.memmap(path, _FLOAT, "c", start, tuple(entry["shape"]))
    return raw


def read_raw_embeddings(folder: Path) -> NDArray[np.float32]:
    """Memory-map the raw embeddings `(N, h)` in the folder of `embed`; row r belongs to item row r."""
    return load_raw_embeddings(folder / RAW_EMBEDDINGS_FILE)


def join_raw_embeddings(shards: Sequence[Path], path: Path) -> tuple[int, int]:
    """Concatenate the rows of several files into one, written atomically; return its shape."""
    shapes = [load_raw_embeddings(shard).shape for shard in shards]
    shape = (sum(rows for rows, _ in shapes), shapes[0][1])
    entry = {"dtype": "F32", "shape": shape, "data_offsets": (0, shape[0] * shape[1] * _FLOAT.itemsize)}
    header = json.dumps({_TENSOR: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shard in shards:  # mapped one at a time to limit memory
            load_raw_embeddings(shard).tofile(file)
    temporary.replace(path)
    return shape


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedEmbedding:
    """The work of `embed`, split into shards; each shard reads only its own items and writes its own file.

    Args:
        dataset_folder: output of `prepare`; all workers must see this path and the next two.
        encoder_folder: output of `scft`.
        output: folder for the shard files.
        max_value_characters: see `EncoderConfig`.
        batch_tokens: see `EmbedConfig`.
        shard_items: see `EmbedConfig`.
    """

    dataset_folder: Path
    encoder_folder: Path
    output: Path
    max_value_characters: int
    batch_tokens: int
    shard_items: int

    def count_items(self) -> int:
        """Return the number of items, N."""
        return int(self._items().select(pl.len()).collect().item())

    def starts(self) -> range:
        """Return the first item row of each shard."""
        return range(0, self.count_items(), self.shard_items)

    def file(self, start: int) -> Path:
        """Return a shard's file."""
        return self.output / f"shard-{start:09d}.safetensors"

    def load_encoder(self) -> Encoder:
        """Load the encoder, on a GPU if there is one."""
        encoder = Encoder.load(self.encoder_folder, device="cuda" if torch.cuda.is_available() else "cpu")
        encoder.expect(self._prompt().beginning)
        return encoder

    def embed(self, encoder: Encoder, start: int, on_batch: Callable[[int], object] | None = None) -> int:
        """Write a shard's file atomically; return its number of items.

        The batches, and so the vectors, are the same for every engine.
        """
        prompts = self._prompts(start)
        save_raw_embeddings(encoder.encode(prompts, self.batch_tokens, on_batch=on_batch), self.file(start))
        return len(prompts)

    def _prompts(self, start: int) -> list[str]:
        prompt = self._prompt()
        texts = self._items().select("attributes").slice(start, self.shard_items).collect()["attributes"]
        return [prompt.render(attributes_from_json(text)) for text in texts]

    def _prompt(self) -> PromptSpec:
        info = DatasetInfo.model_validate_json((self.dataset_folder / "dataset.json").read_text(encoding="utf-8"))
        return info.prompt(self.max_value_characters)

    def _items(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.dataset_folder / "items.parquet")
