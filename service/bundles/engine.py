"""One bundle's parts: all that makes an answer, opened together and closed together."""

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
from service.catalogue.catalogue import Catalogue
from service.catalogue.map import DrawnMap
from service.catalogue.milvus.open import open_vector_store
from service.encoding.cache import VectorCache
from service.encoding.embedder import ItemEmbedder
from service.encoding.open import open_prompt_encoder
from service.encoding.prompt_encoder import PromptEncoder
from service.observability.metrics import Metrics
from service.ranking.rank_queue import RankQueue
from service.ranking.recommender import Recommender
from service.settings import Settings
from service.storage.item_log import ItemLog
from service.storage.storage import Storage

EMBEDDED_TOGETHER = 64
"""Pending items that are embedded at once: few, so that requests find room between them."""
RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all loaded bundles share."""

    settings: Settings
    storage: Storage
    cache: VectorCache
    queue: RankQueue
    metrics: Metrics


@dataclass(eq=False, kw_only=True, slots=True)
class Engine:
    """What the routes use. Every part is of the same bundle.

    A process has one open engine for a bundle id at a time, which owns the bundle's metrics and background tasks.
    """

    name: str
    """Of the bundle's folder."""
    bundle: Bundle
    encoder: PromptEncoder
    embedder: ItemEmbedder
    catalogue: Catalogue
    drawn_map: DrawnMap
    recommender: Recommender
    item_log: ItemLog
    opened: AsyncExitStack
    """What `close` gives back."""
    attached: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set when the catalogue follows the item log."""
    _embedding: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _keeping_up: asyncio.Task[None] | None = field(default=None, init=False)

    async def close(self) -> None:
        """Stop the encoder and the background tasks, detach the catalogue, and remove the bundle's metrics."""
        keeping_up = self._keeping_up
        if keeping_up is not None:
            self.stop_keeping_up()
            await asyncio.wait([keeping_up])
        await self.opened.aclose()

    async def attach(self) -> None:
        """Read what was added into the catalogue, and apply every change from now on.

        Raises:
            StorageError: what was added cannot be read.
        """
        await self.item_log.attach(self.catalogue)
        self.opened.callback(self.item_log.detach, self.catalogue)
        self.attached.set()

    async def embed_pending(self) -> int:
        """Embed every item that another bundle embedded, and return how many there were.

        Raises:
            LlmembError: the encoder or the storage does not work.
        """
        embedded = 0
        # One at a time: a bundle that takes over may be keeping up already, as an experiment.
        async with self._embedding:
            while chunk := dict(islice(self.catalogue.pending.items(), EMBEDDED_TOGETHER)):
                vectors = await self.embedder.embed([item.attributes for item in chunk.values()])
                given = {
                    item_id: (item.attributes_json, each.vector)
                    for (item_id, item), each in zip(chunk.items(), vectors, strict=True)
                }
                await self.item_log.keep_vectors(self.bundle.manifest.id, given)
                self.catalogue.give_vectors(given)
                embedded += len(given)
        return embedded

    def start_keeping_up(self) -> None:
        """Embed pending items in the background as they come; attach first, if that could not be done so far."""
        if self._keeping_up is None:
            self._keeping_up = asyncio.ensure_future(self._keep_up())

    def stop_keeping_up(self) -> None:
        """Leave items that come pending."""
        if self._keeping_up is not None:
            self._keeping_up.cancel()
            self._keeping_up = None

    async def _keep_up(self) -> None:
        while True:
            try:
                if not self.attached.is_set():
                    await self.attach()
                await self.catalogue.has_pending.wait()
                await self.embed_pending()
            except LlmembError as error:
                logger.warning("the catalogue waits for what was added: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def try_recommending(self) -> None:
        """Ask for a recommendation, since a first call is slow, and what fails must fail now.

        Raises:
            BundleError: there is none, or none that can be used.
        """
        with self._trying():
            recommendation = await self.recommender.recommend_after([self.bundle.items.ids[0]])
        self._check_finite(recommendation.scores)

    async def try_embedding(self) -> None:
        """Wait for the encoder's start and ask for an embedding.

        Raises:
            BundleError: there is none, or none that can be used.
            EncoderError: the encoder cannot be loaded, or not on the device.
        """
        await self.encoder.started()
        with self._trying():
            embedded = await self.embedder.embed([self.bundle.items.attributes(0)])
        self._check_finite(embedded[0].vector)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except LlmembError as error:
            raise BundleError(f"{self.bundle.folder}: the bundle does not answer: {error}") from error

    def _check_finite(self, answer: NDArray[np.float32]) -> None:
        if not np.isfinite(answer).all():
            raise BundleError(f"{self.bundle.folder}: the bundle's answers are not finite")


async def open_engine(folder: Path, shared: Shared) -> Engine:
    """Load a bundle that has no open engine. It recommends; its encoder may still be starting.

    Its catalogue has no added items before `attach`.

    Raises:
        BundleError: the bundle cannot be read or does not answer.
        ConfigError: a setting cannot be used with it.
        RetryLaterError: a server that it needs, of the encoder or of the vectors, does not answer now.
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
            drawn_map=DrawnMap(catalogue),
            recommender=Recommender(bundle, catalogue, embedder, shared.queue, settings, metrics),
            item_log=shared.storage.items,
            opened=stack,
        )
        await engine.try_recommending()
        engine.opened = stack.pop_all()  # from here on the engine closes it
        return engine
