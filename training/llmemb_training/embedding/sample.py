"""A sample of item embeddings before SCFT, for the whitening in SCFT and for the report's map."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from llmemb.encoder.encoder import Encoder
from llmemb.item import attributes_from_json
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset

SAMPLE_FILE = "sample.safetensors"
SAMPLE_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class EmbeddingSample:
    """Raw embeddings of some items.

    Args:
        rows: item rows, warm and cold, ascending, `(n,)`.
        before: raw embeddings of the items before SCFT, `(n, h)`.
    """

    rows: NDArray[np.int64]
    before: NDArray[np.float32]


def write_sample(folder: Path, dataset: Dataset, encoder: Encoder, max_value_characters: int, seed: int) -> None:
    """Embed up to `SAMPLE_ITEMS` random items; write `folder/sample.safetensors` atomically."""
    number = min(SAMPLE_ITEMS, dataset.num_items)
    rows = np.sort(derive_generator(seed, "scft", "sample").choice(dataset.num_items, number, replace=False))
    prompt = dataset.prompt(max_value_characters)
    texts = dataset.items["attributes"][rows].to_list()
    before = encoder.encode([prompt.render(attributes_from_json(text)) for text in texts])
    temporary = folder / f".{SAMPLE_FILE}.tmp"
    save_file({"rows": rows.astype(np.int64), "before": before}, temporary)
    temporary.replace(folder / SAMPLE_FILE)


def read_sample(folder: Path) -> EmbeddingSample:
    """Read the sample in a step's folder."""
    arrays = load_file(folder / SAMPLE_FILE)
    return EmbeddingSample(rows=arrays["rows"], before=arrays["before"])
