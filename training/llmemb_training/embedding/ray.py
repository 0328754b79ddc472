"""Embedding of the shards on a Ray cluster with Ray Data; each worker loads its own encoder.

The cluster is the one that the caller is connected to, or the one at `RAY_ADDRESS`, or a temporary local one. Every
worker must see the run folder at the same path and have this package installed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import ConfigError
from llmemb_training.embedding.raw_embeddings import ShardedEmbedding

# Disables Ray's usage reports; must be set before Ray starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise ConfigError(
        f"embed.engine is 'ray', but the module {error.name!r} is missing: "
        "pip install 'llmemb[ray]', or set it to 'local'"
    ) from error

Batch = dict[str, NDArray[np.int64]]


class ShardWorker:
    """A worker that keeps its encoder loaded between shards."""

    def __init__(self, work: ShardedEmbedding) -> None:
        self._work = work
        self._encoder = work.load_encoder()

    def __call__(self, batch: Batch) -> Batch:
        """Write the files of the shards in `batch["start"]`; return their numbers of items."""
        return {"items": np.array([self._work.embed(self._encoder, int(start)) for start in batch["start"]])}


def embed_on_ray(work: ShardedEmbedding, starts: Sequence[int], workers: int) -> Iterator[int]:
    """Write the files of the shards that begin at `starts`; yield the number of items of each completed shard.

    Args:
        work: the sharded work.
        starts: first item rows of the shards to write.
        workers: maximum number of parallel encoders; fewer if the cluster lacks resources.
    """
    with _cluster():
        ray.data.DataContext.get_current().enable_progress_bars = False
        has_gpus = bool(ray.cluster_resources().get("GPU"))
        shards = ray.data.from_items([{"start": start} for start in starts], override_num_blocks=len(starts))
        done = shards.map_batches(
            ShardWorker,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(starts))),
            num_gpus=1 if has_gpus else 0,
        )
        for row in done.iter_rows():
            yield int(row["items"])


@contextmanager
def _cluster() -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    # Only a new local cluster accepts this option; it needs no dashboard.
    own = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **own)
    try:
        yield
    finally:
        ray.shutdown()
