"""The use case behind `/embed_items`: attributes -> semantic vectors, by cache and encoder.

The semantic vector `(D,)` is what the text alone gives: the projection of the encoder's output, and beside it the
semantic profile vector where the bundle has a semantic term. `service/snapshot.py` makes an item vector of it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.encoder import Encoder
from llmemb.item import Attributes
from llmemb.item_space import ItemSpace
from llmemb.prompt import PromptSpec
from service.batching import EmbeddingQueue
from service.cache import VectorCache
from service.errors import DeadlineError
from service.metrics import Metrics

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticEncoder:
    """Encoder and item space as one: prompts -> semantic vectors `(N, D)`, both in the queue's thread."""

    encoder: Encoder
    space: ItemSpace

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each prompt."""
        return self.encoder.tokenize(prompts)

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        """Return the semantic vectors, `(N, D)`."""
        return self.space.semantic_vectors(self.encoder.encode(prompts, batch_tokens))


@dataclass(frozen=True, slots=True)
class SemanticVector:
    """A semantic vector `(D,)`, and whether the cache had it."""

    vector: Array
    cached: bool


class ItemEmbedder:
    """Embeds items by their attributes, each text once.

    Args:
        bundle_id: part of a cached vector's key, so that no vector outlives its bundle.
        prompt: of the bundle.
        cache: asked first.
        queue: embeds what the cache does not know.
        timeout_seconds: how long the queue may take.
        metrics: told of items and cache.
    """

    def __init__(
        self,
        *,
        bundle_id: str,
        prompt: PromptSpec,
        cache: VectorCache,
        queue: EmbeddingQueue,
        timeout_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._bundle_id = bundle_id
        self._prompt = prompt
        self._cache = cache
        self._queue = queue
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics

    async def embed(self, items: Sequence[Attributes]) -> list[SemanticVector]:
        """Embed items, given by checked attributes that the bundle knows, in their order.

        Raises:
            OverloadedError: the queue has no room.
            DeadlineError: the queue took too long.
            NotReadyError: the encoder has stopped.
        """
        prompts = [self._prompt.render(attributes) for attributes in items]
        keys = [self._key(prompt) for prompt in prompts]
        wanted = dict(zip(keys, prompts, strict=True))
        known = {
            key: vector
            for key, vector in zip(wanted, await self._cache.read(list(wanted)), strict=True)
            if vector is not None
        }
        missing = {key: prompt for key, prompt in wanted.items() if key not in known}
        fresh = dict(zip(missing, await self._embed_prompts(list(missing.values())), strict=True))
        await self._cache.write(fresh)
        self._metrics.embedded_items.inc(len(items))
        self._metrics.cache_lookups.labels("hit").inc(len(known))
        self._metrics.cache_lookups.labels("miss").inc(len(missing))
        vectors = known | fresh
        return [SemanticVector(vectors[key], key in known) for key in keys]

    async def _embed_prompts(self, prompts: list[str]) -> list[Array]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._queue.embed(prompts)
        except TimeoutError as error:
            raise DeadlineError(f"the items were not embedded within {self._timeout_seconds:g} s") from error

    def _key(self, prompt: str) -> str:
        return f"llmemb:{self._bundle_id}:{hashlib.sha256(prompt.encode()).hexdigest()}"
