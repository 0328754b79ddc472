"""`embed`: every item once through the tuned LLM, `(N, h)`, in shards that survive an interruption."""

from pathlib import Path

import numpy as np
import torch

from llmemb.encoder import Encoder
from training.config import EmbedConfig, EncoderConfig
from training.dataset import read_dataset
from training.progress import bar
from training.raw_embeddings import RAW_EMBEDDINGS_FILE, load_raw_embeddings, save_raw_embeddings


def run(
    config: EmbedConfig, encoder_config: EncoderConfig, dataset_folder: Path, encoder_folder: Path, output: Path
) -> str:
    """Write `output/raw_embeddings.safetensors`, row r for item row r; return the summary line."""
    dataset = read_dataset(dataset_folder)
    prompt = dataset.prompt(encoder_config.max_value_characters)
    prompts = [prompt.render(attributes) for attributes in dataset.attributes()]
    encoder = Encoder.load(encoder_folder, device="cuda" if torch.cuda.is_available() else "cpu")
    shards = []
    with bar("embed", " items", len(prompts)) as progress:
        for start in range(0, len(prompts), config.shard_items):
            shard = output / f"shard-{start:09d}.safetensors"
            batch = prompts[start : start + config.shard_items]
            if not shard.is_file():
                raw = encoder.encode(batch, config.batch_tokens, on_batch=progress.update)
                save_raw_embeddings(raw, shard)
            else:
                progress.update(len(batch))
            shards.append(shard)
    save_raw_embeddings(np.concatenate([load_raw_embeddings(shard) for shard in shards]), output / RAW_EMBEDDINGS_FILE)
    for shard in shards:
        shard.unlink()
    return f"{len(prompts):,} items, width {encoder.width}, {encoder.depth} layers"
