"""`embed`: embed every item with the tuned LLM, `(N, h)`, in shards; resumes after an interruption."""

from collections.abc import Callable
from pathlib import Path

from llmemb_training.config import EmbedConfig, EncoderConfig
from llmemb_training.embedding.raw_embeddings import (
    RAW_EMBEDDINGS_FILE,
    ShardedEmbedding,
    join_raw_embeddings,
    read_raw_embeddings,
)
from llmemb_training.runs.progress import bar


def run(
    config: EmbedConfig, encoder_config: EncoderConfig, dataset_folder: Path, encoder_folder: Path, output: Path
) -> str:
    """Write `output/raw_embeddings.safetensors`, row r for item row r; return the summary line.

    Only one shard is in memory at a time. Both engines give the same vectors.

    Raises:
        ConfigError: `engine` is `ray`, and Ray is not installed.
    """
    work = ShardedEmbedding(
        dataset_folder=dataset_folder.absolute(),
        encoder_folder=encoder_folder.absolute(),
        output=output.absolute(),
        max_value_characters=encoder_config.max_value_characters,
        batch_tokens=config.batch_tokens,
        shard_items=config.shard_items,
    )
    starts = work.starts()
    if not (output / RAW_EMBEDDINGS_FILE).is_file():
        pending = [start for start in starts if not work.file(start).is_file()]
        with bar("embed", "items", work.count_items()) as progress:
            progress.update((len(starts) - len(pending)) * config.shard_items)
            _embed(work, pending, config, progress.update)
        join_raw_embeddings([work.file(start) for start in starts], output / RAW_EMBEDDINGS_FILE)
    for start in starts:
        work.file(start).unlink(missing_ok=True)
    num_items, width = read_raw_embeddings(output).shape
    return f"{num_items:,} items, width {width}"


def _embed(work: ShardedEmbedding, pending: list[int], config: EmbedConfig, on_items: Callable[[int], object]) -> None:
    """Write the files of the pending shards; call `on_items` with the number of items completed each time."""
    if not pending:
        return
    if config.engine == "ray":
        from llmemb_training.embedding.ray import embed_on_ray

        for done in embed_on_ray(work, pending, config.ray_workers):
            on_items(done)
        return
    encoder = work.load_encoder()
    for start in pending:
        work.embed(encoder, start, on_items)
