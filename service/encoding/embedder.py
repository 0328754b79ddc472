"""The use case behind `/embed_items` and `/v1/embeddings`: attributes or texts -> vectors, by cache and encoder.

The semantic vector `(D,)` is what the text alone gives: the projection of the encoder's output, and beside it the
semantic profile vector where the bundle has a semantic term. `service/catalogue/snapshot.py` makes an item vector.
`h` the LLM's width.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.item import Attributes
from service.encoding.cache import VectorCache
from service.encoding.in_flight import InFlight
from service.encoding.prompt_encoder import PromptEncoder, RawEmbedding
from service.errors import DeadlineError
from service.sight.metrics import Metrics

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticVector:
    """A semantic vector `(D,)`, and whether the cache had what it is made of."""

    vector: Array
    cached: bool


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """What the LLM gives for a text, `(h,)`, the tokens it read, and whether the cache had it."""

    raw: Array
    tokens: int
    cached: bool


class ItemEmbedder:
    """Embeds items by their attributes, and texts as they are; each text once.

    Args:
        bundle: its id is part of a cached embedding's key, so that none outlives its bundle.
        cache: of raw embeddings; asked first.
        encoder: embeds what the cache does not know.
        timeout_seconds: how long the encoder may take.
        metrics: told of items and cache.
    """

    def __init__(
        self,
        *,
        bundle: Bundle,
        cache: VectorCache,
        encoder: PromptEncoder,
        timeout_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._bundle_id = bundle.manifest.id
        self._width = bundle.manifest.encoder.width
        self._prompt = bundle.prompt
        self._space = bundle.space
        self._cache = cache
        self._encoder = InFlight(encoder)
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics

    async def embed(self, items: Sequence[Attributes]) -> list[SemanticVector]:
        """Embed items, given by checked attributes that the bundle knows, in their order.

        Raises:
            OverloadedError: the encoder has no room.
            EncoderUnavailableError: the encoder does not run now.
            DeadlineError: the encoder took too long.
        """
        if not items:
            return []
        texts = await self.embed_texts([self._prompt.render(attributes) for attributes in items])
        # In a thread: numpy's threads wait for each other, and on a busy machine such a wait takes up to a tenth of a
        # second, for which the event loop must not stand still.
        raw = np.stack([text.raw for text in texts])
        vectors = await asyncio.to_thread(self._space.semantic_vectors, raw)
        return [SemanticVector(vector, text.cached) for vector, text in zip(vectors, texts, strict=True)]

    async def embed_texts(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """Embed texts as they are, in their order.

        Raises:
            OverloadedError: the encoder has no room.
            EncoderUnavailableError: the encoder does not run now.
            DeadlineError: the encoder took too long.
        """
        wanted = {text: self._key(text) for text in texts}
        known = await self._known(wanted)
        fresh = await self._fresh([text for text in wanted if text not in known])
        await self._cache.write({wanted[text]: embedding for text, embedding in fresh.items()})
        self._metrics.embedded_items.inc(len(texts))
        self._metrics.cache_lookups.labels("hit").inc(len(known))
        self._metrics.cache_lookups.labels("miss").inc(len(fresh))
        found = {**known, **fresh}
        return [TextEmbedding(found[text].vector, found[text].tokens, text in known) for text in texts]

    async def _known(self, wanted: Mapping[str, str]) -> dict[str, RawEmbedding]:
        """Return those that the cache has, by text."""
        entries = await self._cache.read(list(wanted.values()))
        return {
            text: entry
            for text, entry in zip(wanted, entries, strict=True)
            # One of another width is not ours: embedding anew replaces it.
            if entry is not None and len(entry.vector) == self._width
        }

    async def _fresh(self, texts: list[str]) -> dict[str, RawEmbedding]:
        if not texts:
            return {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return dict(zip(texts, await self._encoder.encode(texts), strict=True))
        except TimeoutError as error:
            raise DeadlineError(f"no embedding within {self._timeout_seconds:g} s") from error

    def _key(self, text: str) -> str:
        return f"{self._bundle_id}:{hashlib.sha256(text.encode()).hexdigest()}"
