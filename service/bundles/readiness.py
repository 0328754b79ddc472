"""Whether the service answers: a real pass through sequence model and index, and a word with all it depends on."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

import numpy as np

from service.bundles.engine import Engine
from service.bundles.versions import Versions
from service.observability.metrics import Metrics
from service.storage.storage import Storage

OK = "ok"
NEEDED = frozenset({"recommender", "catalogue"})
"""Without another part a replica still recommends, and is degraded."""
NEEDED_ONCE = frozenset({"encoder"})
"""Needed until it has worked for the first time: what has never embedded takes nobody's place."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks found: each part and `ok`, or why it is not."""

    checks: Mapping[str, str]
    needed: frozenset[str]
    """Without one of these parts a replica should get no requests."""

    @property
    def missing(self) -> list[str]:
        """The parts that are needed and do not work."""
        return sorted(part for part in self.needed if self.checks[part] != OK)

    @property
    def degraded(self) -> bool:
        """Whether anything fails."""
        return any(result != OK for result in self.checks.values())


class Readiness:
    """Checks all parts, one check at a time, and reuses its result for a while.

    Args:
        versions: the loaded bundles; the current one is asked.
        storage: asked whether it works.
        metrics: told what the checks find.
        reuse_seconds: how long a result holds.
        timeout_seconds: how long one part may take.
    """

    def __init__(
        self, versions: Versions, storage: Storage, metrics: Metrics, *, reuse_seconds: float, timeout_seconds: float
    ) -> None:
        self._versions = versions
        self._storage = storage
        self._metrics = metrics
        self._reuse_seconds = reuse_seconds
        self._timeout_seconds = timeout_seconds
        self._one_at_a_time = asyncio.Lock()
        self._health: Health | None = None
        self._checked_at = 0.0
        self._caught_up = False

    async def check(self) -> Health:
        """Return what the checks find, or have just found."""
        async with self._one_at_a_time:
            starting = not self._versions.started.done()
            needed = NEEDED | NEEDED_ONCE if starting else NEEDED
            fresh = time.monotonic() - self._checked_at < self._reuse_seconds
            if self._health is None or not fresh or self._health.needed != needed:
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
                self._health = Health(dict(zip(parts, results, strict=True)), needed)
                for part, result in self._health.checks.items():
                    self._metrics.check_ok.labels(part).set(result == OK)
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

    async def _catalogue(self, engine: Engine) -> str:
        """A start is over when nothing is left to embed; later items of other bundles come and go."""
        if not engine.attached.is_set():
            return "the items that were added cannot be read yet"
        pending = len(engine.catalogue.pending)
        self._caught_up = self._caught_up or not pending
        return OK if self._caught_up else f"{pending} items are still to be embedded by this bundle"


async def _recommender(engine: Engine) -> str:
    recommendation = await engine.recommender.recommend_after([engine.bundle.items.ids[0]])
    return OK if np.isfinite(recommendation.scores).all() else "gives no finite score"


async def _starting() -> str:
    return "starts"


async def _fault(fault: Awaitable[str | None]) -> str:
    return await fault or OK
