"""All that answers requests, made from one bundle: opened part by part, closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from llmemb.bundle import Bundle, read_bundle
from llmemb.encoder import Encoder
from llmemb.errors import BundleError, ConfigError
from service.batching import EmbeddingQueue
from service.cache import open_cache
from service.catalogue import Catalogue
from service.embedding import ItemEmbedder, SemanticEncoder
from service.item_store import ItemStore
from service.metrics import Metrics
from service.readiness import OK, Readiness
from service.recommending import Recommender
from service.settings import Settings
from service.state_folder import own_state_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What the routes use. Every part is of the same bundle."""

    bundle: Bundle
    embedder: ItemEmbedder
    catalogue: Catalogue
    recommender: Recommender
    readiness: Readiness


@asynccontextmanager
async def open_engine(settings: Settings, metrics: Metrics) -> AsyncIterator[Engine]:
    """Load the bundle and what was added to it, and try all parts before they are used.

    Raises:
        BundleError: the bundle cannot be read or does not answer.
        ConfigError: a setting cannot be used.
        EncoderError: the encoder cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        state_dir = stack.enter_context(own_state_folder(settings.state_dir))
        bundle = read_bundle(settings.bundle)
        cache = open_cache(settings, bundle.space.width, metrics)
        stack.push_async_callback(cache.close)
        queue = EmbeddingQueue(
            SemanticEncoder(_load_encoder(bundle, settings.device), bundle.space),
            batch_tokens=settings.batch_tokens,
            max_items=settings.queue_max_items,
            metrics=metrics,
        )
        queue.start()
        stack.push_async_callback(asyncio.to_thread, queue.close)
        embedder = ItemEmbedder(
            bundle_id=bundle.manifest.id,
            prompt=bundle.prompt,
            cache=cache,
            queue=queue,
            timeout_seconds=settings.embed_timeout_seconds,
            metrics=metrics,
        )
        store = ItemStore(state_dir / "catalogue.sqlite3")
        catalogue = Catalogue(bundle, store, max_added_items=settings.max_added_items, metrics=metrics)
        stack.push_async_callback(asyncio.to_thread, catalogue.close)
        readiness = Readiness(
            bundle,
            queue,
            cache,
            reuse_seconds=settings.ready_seconds,
            timeout_seconds=settings.ready_timeout_seconds,
        )
        await _warm_up(readiness)
        await catalogue.load(embedder)
        recommender = Recommender(bundle, catalogue, embedder, threads=settings.recommend_threads, metrics=metrics)
        yield Engine(
            bundle=bundle, embedder=embedder, catalogue=catalogue, recommender=recommender, readiness=readiness
        )


def _load_encoder(bundle: Bundle, device: str) -> Encoder:
    try:
        return bundle.load_encoder(device)
    except (RuntimeError, AssertionError) as error:  # how torch says that a device is missing
        raise ConfigError(f"LLMEMB_DEVICE: the encoder cannot run on {device}: {error}") from error


async def _warm_up(readiness: Readiness) -> None:
    """Run every part once: what fails must fail now, and a first call is slow."""
    health = await readiness.check()
    if not health.ready:
        faults = "; ".join(f"{part}: {result}" for part, result in health.checks.items() if result != OK)
        raise BundleError(f"the bundle does not answer: {faults}")
