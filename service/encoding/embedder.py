"""What embeds items and texts: by cache, by prompts that are under way already, and by the encoder."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.item import Attributes
from service.encoding.cache import VectorCache
from service.encoding.prompt_encoder import PromptEncoder, RawEmbedding
from service.errors import DeadlineError
from service.observability.metrics import Metrics


@dataclass(eq=False, slots=True)
class _Call:
    """One call of the encoder; it ends early when nobody waits for any of its prompts."""

    prompts: list[str]
    task: asyncio.Task[list[RawEmbedding]] = field(init=False)
    waiting: int = 0
    """Callers that wait for it."""


class InFlight:
    """Lets concurrent callers share the computation of a prompt. For one event loop.

    A caller's own prompts are one call of the encoder, which refuses or takes them together. Where somebody waits for
    one of a call's prompts, the whole call goes on.

    Args:
        encoder: what embeds.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._calls: dict[str, _Call] = {}

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """Embed prompts, in their order; raises what the encoder raises, and is cancelled alone."""
        calls = {prompt: self._calls[prompt] for prompt in prompts if prompt in self._calls}
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in calls]:
            calls |= dict.fromkeys(new, self._begin(new))
        awaited = set(calls.values())
        for call in awaited:
            call.waiting += 1
        try:
            # Each is awaited, whichever fails first; the tasks are the callers' common ones and must not be cancelled.
            await asyncio.wait([call.task for call in awaited])
        finally:
            for call in awaited:
                self._leave(call)
        found = {
            prompt: embedding
            for call in awaited
            for prompt, embedding in zip(call.prompts, call.task.result(), strict=True)
        }
        return [found[prompt] for prompt in prompts]

    def _begin(self, prompts: list[str]) -> _Call:
        call = _Call(prompts)
        call.task = asyncio.ensure_future(self._encoder.encode(prompts))
        self._calls |= dict.fromkeys(prompts, call)
        call.task.add_done_callback(lambda task: self._done(call, task))
        return call

    def _done(self, call: _Call, task: asyncio.Task[list[RawEmbedding]]) -> None:
        self._end(call)
        # Looked at here, since a caller of several calls meets only the first that failed.
        if not task.cancelled():
            task.exception()

    def _leave(self, call: _Call) -> None:
        call.waiting -= 1
        if call.waiting == 0 and not call.task.done():
            # Nobody may join what is being cancelled.
            self._end(call)
            call.task.cancel()

    def _end(self, call: _Call) -> None:
        for prompt in call.prompts:
            if self._calls.get(prompt) is call:
                del self._calls[prompt]


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
