"""Readiness: a real recommendation, and the status of every part that the service depends on, with reasons."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

import numpy as np

from llmemb_service.bundles.engine import Engine
from llmemb_service.bundles.versions import Versions
from llmemb_service.observability.metrics import Metrics
from llmemb_service.storage.storage import Storage

OK = "ok"
REQUIRED = frozenset({"recommender", "catalogue"})
"""If another part fails, a replica still recommends and is degraded."""
REQUIRED_AT_START = frozenset({"encoder"})
"""Required only until it has started: a new replica must not replace a working one before it can embed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """The result of the checks: for each part `ok`, or the reason of the failure."""

    checks: Mapping[str, str]
    required: frozenset[str]
    """If one of these parts fails, the replica should receive no requests."""

    @property
    def missing(self) -> list[str]:
        """The required parts that have failed, sorted."""
        return sorted(part for part in self.required if self.checks[part] != OK)

    @property
    def degraded(self) -> bool:
        """Whether any part has failed."""
        return any(result != OK for result in self.checks.values())


class Readiness:
    """Checks all parts and caches the result for a while.

    Args:
        versions: the loaded bundles; the current one is checked.
        storage: is checked.
        metrics: records the results.
        reuse_seconds: how long a result is cached.
        timeout_seconds: timeout of the check of one part.
    """

    def __init__(
        self, versions: Versions, storage: Storage, metrics: Metrics, *, reuse_seconds: float, timeout_seconds: float
    ) -> None:
        self._versions = versions
        self._storage = storage
        self._metrics = metrics
        self._reuse_seconds = reuse_seconds
        self._timeout_seconds = timeout_seconds
        self._lock = asyncio.Lock()
        self._health: Health | None = None
        self._checked_at = 0.0
        self._was_complete = False

    async def check(self) -> Health:
        """Return the result of the checks, or the cached one if it is recent enough."""
        async with self._lock:
            starting = not self._versions.started.done()
            required = REQUIRED | REQUIRED_AT_START if starting else REQUIRED
            fresh = time.monotonic() - self._checked_at < self._reuse_seconds
            if self._health is None or not fresh or self._health.required != required:
                engine = self._versions.current
                parts = {
                    "recommender": _recommender(engine),
                    "catalogue": self._catalogue(engine),
                    "encoder": _starting() if starting else _fault(engine.encoder.fault()),
                    "cache": _fault(self._versions.cache_fault()),
                    "item_log": _fault(self._storage.items.fault()),
                    "sessions": _fault(self._storage.sessions.fault()),
                }
                results = await asyncio.gather(*(self._result(name, check) for name, check in parts.items()))
                self._health = Health(dict(zip(parts, results, strict=True)), required)
                for part, result in self._health.checks.items():
                    self._metrics.check_ok.labels(part).set(result == OK)
                self._checked_at = time.monotonic()
            return self._health

    async def _result(self, part: str, check: Awaitable[str]) -> str:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await check
        except TimeoutError:
            return f"timed out after {self._timeout_seconds:g} s"
        except Exception as error:
            logger.exception("the check of %s failed", part)
            return f"failed ({type(error).__name__})"

    async def _catalogue(self, engine: Engine) -> str:
        """Check that the added items are loaded and, until this was true once, that none is pending."""
        if not engine.attached.is_set():
            return "the added items cannot be read yet"
        pending = len(engine.catalogue.pending)
        self._was_complete = self._was_complete or not pending
        return OK if self._was_complete else f"{pending} items are not embedded by this bundle yet"


async def _recommender(engine: Engine) -> str:
    recommendation = await engine.recommender.recommend_after([engine.bundle.items.ids[0]])
    return OK if np.isfinite(recommendation.scores).all() else "returns scores that are not finite"


async def _starting() -> str:
    return "starting"


async def _fault(fault: Awaitable[str | None]) -> str:
    return await fault or OK
