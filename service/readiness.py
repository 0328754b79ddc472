"""Whether the service answers: a real pass through encoder, sequence model and index, and a word with Redis."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

import numpy as np

from llmemb.bundle import Bundle
from llmemb.session import session_vectors
from service.batching import EmbeddingQueue
from service.cache import VectorCache

OK = "ok"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks found: each part and `ok`, or why it is not."""

    checks: Mapping[str, str]

    @property
    def ready(self) -> bool:
        """Whether every request can be answered; the cache is not needed for that."""
        return all(result == OK for part, result in self.checks.items() if part != "cache")

    @property
    def degraded(self) -> bool:
        """Whether the cache fails."""
        return self.checks["cache"] != OK


class Readiness:
    """Checks all parts, one check at a time, and reuses its result for a while.

    Args:
        bundle: its first item goes through sequence model and index.
        queue: its encoder is asked, unless it has just embedded something.
        cache: asked whether it works.
        reuse_seconds: how long a result holds.
        timeout_seconds: how long one part may take.
    """

    def __init__(
        self,
        bundle: Bundle,
        queue: EmbeddingQueue,
        cache: VectorCache,
        *,
        reuse_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._bundle = bundle
        self._queue = queue
        self._cache = cache
        self._reuse_seconds = reuse_seconds
        self._timeout_seconds = timeout_seconds
        self._one_at_a_time = asyncio.Lock()
        self._health: Health | None = None
        self._checked_at = 0.0

    async def check(self) -> Health:
        """Return what the checks find, or have just found."""
        async with self._one_at_a_time:
            if self._health is None or time.monotonic() - self._checked_at >= self._reuse_seconds:
                parts = {
                    "encoder": self._encoder(),
                    "sequence_model_and_index": self._ranking(),
                    "cache": self._redis(),
                }
                results = await asyncio.gather(*(self._result(name, check) for name, check in parts.items()))
                self._health = Health(dict(zip(parts, results, strict=True)))
                self._checked_at = time.monotonic()
            return self._health

    async def _result(self, part: str, check: Awaitable[str]) -> str:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await check
        except TimeoutError:
            return f"no answer within {self._timeout_seconds:g} s"
        except Exception as error:
            logger.exception("the check of %s failed", part)
            return f"failed ({type(error).__name__})"

    async def _encoder(self) -> str:
        if not self._queue.alive:
            return "stopped"
        # Under load the work itself is the proof, and a probe would only wait behind it.
        if time.monotonic() - self._queue.last_success < self._reuse_seconds:
            return OK
        prompt = self._bundle.prompt.render(self._bundle.items.attributes(0))
        vector = (await self._queue.embed([prompt]))[0]
        return OK if np.isfinite(vector).all() else "gives no finite vector"

    async def _ranking(self) -> str:
        bundle = self._bundle

        def compute() -> str:
            session = session_vectors(bundle.sequence_model, [bundle.item_vectors[:1]], bundle.semantic_term)
            hits = bundle.index.search(session, 1, [()])[0]
            return OK if np.isfinite(hits.scores).all() and len(hits.rows) else "gives no finite score"

        return await asyncio.to_thread(compute)

    async def _redis(self) -> str:
        return await self._cache.fault() or OK
