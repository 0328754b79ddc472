"""Shards of the items spread over a Ray cluster by Ray Data; each worker holds an encoder of its own.

The cluster is the one that the caller is connected to, else the one that `RAY_ADDRESS` names, else one of this machine
for as long as it takes. Every worker must see the run folder at the same path, and have this package installed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import ConfigError
from training.embedding.raw_embeddings import ShardedEmbedding

# Ray asks for this before it starts anything: nobody is told that it ran.
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
    """An encoder that stays loaded from one shard to the next."""

    def __init__(self, work: ShardedEmbedding) -> None:
        self._work = work
        self._encoder = work.load_encoder()

    def __call__(self, batch: Batch) -> Batch:
        """Write the files of the shards in `batch["start"]`; return their numbers of items."""
        return {"items": np.array([self._work.embed(self._encoder, int(start)) for start in batch["start"]])}


def embed_on_ray(work: ShardedEmbedding, starts: Sequence[int], workers: int) -> Iterator[int]:
    """Write the files of the shards that begin at `starts`; yield the number of items of each as it is done.

    Args:
        work: what to do.
        starts: of the shards that are to be written.
        workers: encoders at once; fewer run where the cluster has no room for them.
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
    # A cluster of one's own needs no dashboard; one that exists takes no such wish.
    own = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **own)
    try:
        yield
    finally:
        ray.shutdown()
