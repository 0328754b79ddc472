"""Embedding of items and texts: from the cache, from computations in flight, and with the encoder."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.item import Attributes
from llmemb_service.encoding.cache import VectorCache
from llmemb_service.encoding.prompt_encoder import PromptEncoder, RawEmbedding
from llmemb_service.errors import DeadlineError
from llmemb_service.observability.metrics import Metrics


@dataclass(eq=False, slots=True)
class _Call:
    """One call of the encoder; it is cancelled when no caller waits for any of its prompts."""

    prompts: list[str]
    task: asyncio.Task[list[RawEmbedding]] = field(init=False)
    waiting: int = 0
    """Number of callers that wait for it."""


class InFlight:
    """Lets concurrent callers share the computation of a prompt. Use it on one event loop.

    The new prompts of a caller are one call of the encoder, which accepts or refuses them together. As long as a caller
    waits for one of a call's prompts, the whole call continues.

    Args:
        encoder: embeds the prompts.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._calls: dict[str, _Call] = {}

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """Embed prompts, in order; raises what the encoder raises. Cancelling one caller does not affect the others."""
        calls = {prompt: self._calls[prompt] for prompt in prompts if prompt in self._calls}
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in calls]:
            calls |= dict.fromkeys(new, self._start_call(new))
        awaited = set(calls.values())
        for call in awaited:
            call.waiting += 1
        try:
            # `wait` cancels nothing when a task fails: the tasks are shared with other callers.
            await asyncio.wait([call.task for call in awaited])
        finally:
            for call in awaited:
                self._release(call)
        found = {
            prompt: embedding
            for call in awaited
            for prompt, embedding in zip(call.prompts, call.task.result(), strict=True)
        }
        return [found[prompt] for prompt in prompts]

    def _start_call(self, prompts: list[str]) -> _Call:
        call = _Call(prompts)
        call.task = asyncio.ensure_future(self._encoder.encode(prompts))
        self._calls |= dict.fromkeys(prompts, call)
        call.task.add_done_callback(lambda task: self._done(call, task))
        return call

    def _done(self, call: _Call, task: asyncio.Task[list[RawEmbedding]]) -> None:
        self._forget(call)
        # Retrieved here, since a caller that waits for several calls sees only the first failure.
        if not task.cancelled():
            task.exception()

    def _release(self, call: _Call) -> None:
        call.waiting -= 1
        if call.waiting == 0 and not call.task.done():
            # First, so that no new caller joins a call that is being cancelled.
            self._forget(call)
            call.task.cancel()

    def _forget(self, call: _Call) -> None:
        for prompt in call.prompts:
            if self._calls.get(prompt) is call:
                del self._calls[prompt]


Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SemanticVector:
    """A semantic vector `(D,)`, and whether its raw embedding came from the cache."""

    vector: Array
    cached: bool


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """The LLM's vector for a text, `(h,)`, the number of tokens it read, and whether it came from the cache."""

    raw: Array
    tokens: int
    cached: bool


class ItemEmbedder:
    """Embeds items by their attributes, and texts without a prompt; each text once.

    Args:
        bundle: its id is part of each cache key, so that no cached embedding is used with another bundle.
        cache: of raw embeddings; read first.
        encoder: embeds the texts that are not in the cache.
        timeout_seconds: of the encoder.
        metrics: counts embedded items and cache hits.
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
        """Embed items, given by validated attributes of the bundle's schema, in order.

        Raises:
            OverloadedError: the encoder's queue is full.
            EncoderUnavailableError: the encoder is not running.
            DeadlineError: the encoder took too long.
        """
        if not items:
            return []
        texts = await self.embed_texts([self._prompt.render(attributes) for attributes in items])
        # In a thread: numpy's threads wait for each other, on a busy machine for up to 0.1 s, and the event loop must
        # not be blocked for that time.
        raw = np.stack([text.raw for text in texts])
        vectors = await asyncio.to_thread(self._space.semantic_vectors, raw)
        return [SemanticVector(vector, text.cached) for vector, text in zip(vectors, texts, strict=True)]

    async def embed_texts(self, texts: Sequence[str]) -> list[TextEmbedding]:
        """Embed texts without a prompt, in order.

        Raises:
            OverloadedError: the encoder's queue is full.
            EncoderUnavailableError: the encoder is not running.
            DeadlineError: the encoder took too long.
        """
        keys = {text: self._key(text) for text in texts}
        cached = await self._read_cache(keys)
        computed = await self._compute([text for text in keys if text not in cached])
        await self._cache.write({keys[text]: embedding for text, embedding in computed.items()})
        self._metrics.embedded_items.inc(len(texts))
        self._metrics.cache_lookups.labels("hit").inc(len(cached))
        self._metrics.cache_lookups.labels("miss").inc(len(computed))
        found = {**cached, **computed}
        return [TextEmbedding(found[text].vector, found[text].tokens, text in cached) for text in texts]

    async def _read_cache(self, keys: Mapping[str, str]) -> dict[str, RawEmbedding]:
        """Return the cached embeddings, by text; `keys` maps each text to its cache key."""
        entries = await self._cache.read(list(keys.values()))
        return {
            text: entry
            for text, entry in zip(keys, entries, strict=True)
            # An entry of another width is not ours: the text is embedded again and the entry replaced.
            if entry is not None and len(entry.vector) == self._width
        }

    async def _compute(self, texts: list[str]) -> dict[str, RawEmbedding]:
        if not texts:
            return {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return dict(zip(texts, await self._encoder.encode(texts), strict=True))
        except TimeoutError as error:
            raise DeadlineError(f"no embedding within {self._timeout_seconds:g} s") from error

    def _key(self, text: str) -> str:
        return f"{self._bundle_id}:{hashlib.sha256(text.encode()).hexdigest()}"
