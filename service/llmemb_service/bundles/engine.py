"""The parts of the service that belong to one bundle, opened and closed together."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle, read_bundle
from llmemb.errors import BundleError, LlmembError
from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.map import MapCache
from llmemb_service.catalogue.milvus.open import open_vector_store
from llmemb_service.encoding.cache import VectorCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.encoding.open import open_prompt_encoder
from llmemb_service.encoding.prompt_encoder import PromptEncoder
from llmemb_service.observability.metrics import Metrics
from llmemb_service.ranking.rank_queue import RankQueue
from llmemb_service.ranking.recommender import Recommender
from llmemb_service.settings import Settings
from llmemb_service.storage.item_log import ItemLog
from llmemb_service.storage.storage import Storage

PENDING_BATCH_ITEMS = 64
"""Pending items that are embedded in one call: few, so that requests do not wait long behind them."""
RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """The parts that all loaded bundles share."""

    settings: Settings
    storage: Storage
    cache: VectorCache
    queue: RankQueue
    metrics: Metrics


@dataclass(eq=False, kw_only=True, slots=True)
class Engine:
    """The parts of one bundle, which the routes use.

    A process has at most one open engine for a bundle id; it owns the bundle's metrics and background tasks.
    """

    name: str
    """The name of the bundle's folder."""
    bundle: Bundle
    encoder: PromptEncoder
    embedder: ItemEmbedder
    catalogue: Catalogue
    map_cache: MapCache
    recommender: Recommender
    item_log: ItemLog
    opened: AsyncExitStack
    """The resources that `close` releases."""
    attached: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set when the catalogue follows the item log."""
    _embedding: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _pending_task: asyncio.Task[None] | None = field(default=None, init=False)

    async def close(self) -> None:
        """Stop the encoder and the background tasks, detach the catalogue, and remove the bundle's metrics."""
        task = self._pending_task
        if task is not None:
            self.stop_embedding_pending()
            await asyncio.wait([task])
        await self.opened.aclose()

    async def attach(self) -> None:
        """Load the stored changes into the catalogue and apply every later change.

        Raises:
            StorageError: the stored changes cannot be read.
        """
        await self.item_log.attach(self.catalogue)
        self.opened.callback(self.item_log.detach, self.catalogue)
        self.attached.set()

    async def embed_pending(self) -> int:
        """Embed every item that only another bundle has embedded, and return their number.

        Raises:
            LlmembError: the encoder or the storage has failed.
        """
        embedded = 0
        # A bundle that takes over may already run this in the background, as an experiment.
        async with self._embedding:
            while chunk := dict(islice(self.catalogue.pending.items(), PENDING_BATCH_ITEMS)):
                vectors = await self.embedder.embed([item.attributes for item in chunk.values()])
                given = {
                    item_id: (item.attributes_json, each.vector)
                    for (item_id, item), each in zip(chunk.items(), vectors, strict=True)
                }
                await self.item_log.keep_vectors(self.bundle.manifest.id, given)
                self.catalogue.add_vectors(given)
                embedded += len(given)
        return embedded

    def start_embedding_pending(self) -> None:
        """Embed pending items in the background; attach first, if that has not succeeded yet."""
        if self._pending_task is None:
            self._pending_task = asyncio.ensure_future(self._embed_pending_forever())

    def stop_embedding_pending(self) -> None:
        """Stop embedding pending items in the background."""
        if self._pending_task is not None:
            self._pending_task.cancel()
            self._pending_task = None

    async def _embed_pending_forever(self) -> None:
        while True:
            try:
                if not self.attached.is_set():
                    await self.attach()
                await self.catalogue.has_pending.wait()
                await self.embed_pending()
            except LlmembError as error:
                logger.warning("added items are not in the catalogue yet; retrying: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def try_recommending(self) -> None:
        """Make a recommendation, as a warm-up and a check.

        Raises:
            BundleError: it fails, or its scores are not finite.
        """
        with self._as_bundle_error():
            recommendation = await self.recommender.recommend_after([self.bundle.items.ids[0]])
        self._check_finite(recommendation.scores)

    async def try_embedding(self) -> None:
        """Wait for the encoder's start and embed an item, as a warm-up and a check.

        Raises:
            BundleError: it fails, or the embedding is not finite.
            EncoderError: the encoder cannot be loaded, or not on the device.
        """
        await self.encoder.started()
        with self._as_bundle_error():
            embedded = await self.embedder.embed([self.bundle.items.attributes(0)])
        self._check_finite(embedded[0].vector)

    @contextmanager
    def _as_bundle_error(self) -> Iterator[None]:
        try:
            yield
        except LlmembError as error:
            raise BundleError(f"{self.bundle.folder}: the bundle cannot answer: {error}") from error

    def _check_finite(self, answer: NDArray[np.float32]) -> None:
        if not np.isfinite(answer).all():
            raise BundleError(f"{self.bundle.folder}: the bundle's scores or embeddings are not finite")


async def open_engine(folder: Path, shared: Shared) -> Engine:
    """Load a bundle that has no open engine. It can recommend at once; its encoder may still be starting.

    The catalogue has no added items before `attach`.

    Raises:
        BundleError: the bundle cannot be read or cannot answer.
        ConfigError: a setting cannot be used with the bundle.
        RetryLaterError: the server of the encoder or of the vectors is unavailable.
    """
    settings, metrics = shared.settings, shared.metrics
    async with AsyncExitStack() as stack:
        bundle = await asyncio.to_thread(lambda: read_bundle(folder.resolve()))
        stack.callback(metrics.forget_bundle, bundle.manifest.id)
        encoder = await open_prompt_encoder(settings, bundle, metrics)
        stack.push_async_callback(encoder.close)
        embedder = ItemEmbedder(
            bundle=bundle,
            cache=shared.cache,
            encoder=encoder,
            timeout_seconds=settings.embed_timeout_seconds,
            metrics=metrics,
        )
        store = await asyncio.to_thread(open_vector_store, settings, bundle)
        if store is not None:
            stack.push_async_callback(asyncio.to_thread, store.close)
        base = None if store is None else store.base
        catalogue = await asyncio.to_thread(Catalogue, bundle, shared.storage.items, settings, metrics, base)
        stack.push_async_callback(catalogue.close)
        engine = Engine(
            name=bundle.folder.name,
            bundle=bundle,
            encoder=encoder,
            embedder=embedder,
            catalogue=catalogue,
            map_cache=MapCache(catalogue),
            recommender=Recommender(bundle, catalogue, embedder, shared.queue, settings, metrics),
            item_log=shared.storage.items,
            opened=stack,
        )
        await engine.try_recommending()
        engine.opened = stack.pop_all()  # the engine owns the resources now
        return engine
