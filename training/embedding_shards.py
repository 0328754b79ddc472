"""A shard of the items through the LLM: what one machine does after the other, and many do at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from llmemb.encoder import Encoder
from llmemb.item import attributes_from_json
from llmemb.prompt import PromptSpec
from training.dataset import DatasetInfo
from training.raw_embeddings import save_raw_embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedEmbedding:
    """The work of `embed`, cut into shards; each reads its own items alone and writes its own file.

    Args:
        dataset_folder: as `prepare` wrote it; every machine at work sees this path, and the two below.
        encoder_folder: as `scft` wrote it.
        output: takes a file for each shard.
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
        """Load the encoder, on a GPU where there is one."""
        encoder = Encoder.load(self.encoder_folder, device="cuda" if torch.cuda.is_available() else "cpu")
        encoder.expect(self._prompt().beginning)
        return encoder

    def embed(self, encoder: Encoder, start: int, on_batch: Callable[[int], object] | None = None) -> int:
        """Write a shard's file, whole or not at all; return the number of its items.

        The same batches whoever calls it, hence the same vectors.
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
