"""Which bundle answers: one now, one to go back to, and perhaps one for a share of the sessions.

A request asks once for its engine and keeps it, so no answer mixes two bundles; a swap is one assignment.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from llmemb.bundle import MANIFEST_FILE
from llmemb.bundle.read import read_manifest
from llmemb.errors import LlmembError
from service import lasting_memory
from service.chosen_bundle import write_chosen_bundle
from service.encoding.cache import open_cache
from service.engine import Engine, Shared, open_engine
from service.errors import BundleNotFoundError, StorageError, SwapRefusedError
from service.ranking.rank_queue import RankQueue
from service.ranking.replay import Replayed, replay
from service.settings import Settings
from service.sight.metrics import Metrics
from service.storage.storage import Storage

Result = TypeVar("Result")
Role = Literal["current", "previous", "experiment"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A second bundle, and the share of the sessions that it answers."""

    engine: Engine
    share: float

    def has(self, session_id: str) -> bool:
        """Say whether a session is the experiment's: the same answer each time, and at every replica."""
        digest = hashlib.sha256(f"{self.engine.bundle.manifest.id}:{session_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Swap:
    """What a swap did."""

    previous: Engine
    current: Engine
    embedded_items: int
    replayed: Replayed


class Versions:
    """The loaded bundles; one change at a time.

    Args:
        shared: what they share.
        current: the bundle that answers; its encoder may still be starting.
    """

    def __init__(self, shared: Shared, current: Engine) -> None:
        self.current = current
        self.previous: Engine | None = None
        self.experiment: Experiment | None = None
        self.loading: str | None = None
        """Name of the bundle that is being loaded."""
        self.started = asyncio.ensure_future(current.try_embedding())
        """Done when the first bundle's encoder embeds; its error is why it never will."""
        self._shared = shared
        self._keeping_up: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._settle()

    def for_session(self, session_id: str | None) -> Engine:
        """Return the engine that answers a session, or a request without one."""
        if self.experiment is not None and session_id is not None and self.experiment.has(session_id):
            return self.experiment.engine
        return self.current

    def loaded(self) -> dict[Role, Engine]:
        """Return the bundles in memory, by what they are for."""
        engines: dict[Role, Engine] = {"current": self.current}
        if self.previous is not None:
            engines["previous"] = self.previous
        if self.experiment is not None:
            engines["experiment"] = self.experiment.engine
        return engines

    def found(self) -> list[str]:
        """Return the names of the bundles that could be loaded, sorted."""
        return sorted(manifest.parent.name for manifest in self._bundles_dir.glob(f"*/{MANIFEST_FILE}"))

    async def load(self, name: str) -> Swap:
        """Load a bundle, let it embed what was added and answer recent requests, and let it take over.

        Begun is done: a caller that is cancelled does not stop it.

        Raises:
            BundleNotFoundError: there is no bundle of that name.
            SwapRefusedError: another one is being loaded, or this one cannot answer; the present one goes on.
        """
        return await self._changing(name, self._load(name))

    async def roll_back(self) -> Swap:
        """Let the previous bundle take over again; the present one becomes the previous.

        Raises:
            BundleNotFoundError: there is none.
            SwapRefusedError: a bundle is being loaded, or the previous one cannot answer.
        """
        if self.previous is None:
            raise BundleNotFoundError("there is no previous bundle to go back to")
        return await self._changing(self.previous.name, self._take_over(self.previous))

    async def start_experiment(self, name: str, share: float) -> None:
        """Let a bundle answer a share of the sessions, in place of the experiment that may run.

        Raises:
            BundleNotFoundError: there is no bundle of that name.
            SwapRefusedError: another one is being loaded, or this one cannot answer.
        """
        await self._changing(name, self._start_experiment(name, share))

    def end_experiment(self) -> None:
        """Let the current bundle answer every session again."""
        if self.experiment is not None:
            self._retire(self.experiment.engine)
            self.experiment = None
            self._settle()

    async def cache_fault(self) -> str | None:
        """Say why the embedding cache does not work now, None where it does."""
        return await self._shared.cache.fault()

    async def close(self) -> None:
        """Close every engine."""
        tasks = [self.started, *self._keeping_up.values(), *self._retiring]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in self.loaded().values():
            await engine.close()

    @property
    def _bundles_dir(self) -> Path:
        settings = self._shared.settings
        return settings.bundle.resolve().parent if settings.bundles_dir is None else settings.bundles_dir

    async def _changing(self, name: str, change: Coroutine[Any, Any, Result]) -> Result:
        if self.loading is not None:
            change.close()
            raise SwapRefusedError(f"the bundle {self.loading!r} is being loaded; one at a time")
        self.loading = name

        async def run() -> Result:
            try:
                return await change
            except (BundleNotFoundError, SwapRefusedError):
                raise
            except LlmembError as error:
                logger.warning("the bundle %s was refused: %s", name, error)
                raise SwapRefusedError(f"the bundle {name!r} cannot take over: {error}") from error
            finally:
                self.loading = None

        return await asyncio.shield(asyncio.ensure_future(run()))

    async def _open(self, name: str) -> Engine:
        folder = self._bundles_dir / name
        if not (folder / MANIFEST_FILE).is_file():
            raise BundleNotFoundError(f"there is no bundle {name!r}; there are: {', '.join(self.found()) or 'none'}")
        manifest = await asyncio.to_thread(read_manifest, folder)
        if manifest.id == self.current.bundle.manifest.id:
            raise SwapRefusedError(f"the bundle {name!r} is the one that answers: {manifest.id}")
        try:
            engine = await open_engine(folder, self._shared)
        except LlmembError:
            raise
        except Exception as error:
            # Libraries have errors of their own for files that they cannot read.
            logger.exception("the bundle %s cannot be loaded", name)
            raise SwapRefusedError(f"the bundle {name!r} cannot be loaded; the log says why") from error
        try:
            await engine.try_embedding()
            await engine.attach(self._shared.storage)
        except BaseException:
            await engine.close()
            raise
        return engine

    async def _load(self, name: str) -> Swap:
        engine = await self._open(name)
        try:
            return await self._take_over(engine)
        except BaseException:
            if self.current is not engine:
                await engine.close()
            raise

    async def _take_over(self, engine: Engine) -> Swap:
        embedded = await engine.embed_pending(self._shared.storage)
        replayed = await replay(self.current.recommender, engine.recommender)
        if replayed.failed:
            raise SwapRefusedError(f"{replayed.failed} of {replayed.requests} recent requests failed with it")
        # What was added in the meantime.
        embedded += await engine.embed_pending(self._shared.storage)
        before, gone = self.current, self.previous
        self.current, self.previous = engine, before
        if gone is not None and gone is not engine:
            self._retire(gone)
        if self.experiment is not None and self.experiment.engine.bundle.manifest.id == engine.bundle.manifest.id:
            self.end_experiment()  # it has won
        self._settle()
        write_chosen_bundle(self._shared.settings, engine.bundle.folder)
        logger.info("the bundle %s answers, after %s", engine.bundle.manifest.id, before.bundle.manifest.id)
        return Swap(before, engine, embedded, replayed)

    async def _start_experiment(self, name: str, share: float) -> None:
        engine = await self._open(name)
        try:
            await engine.embed_pending(self._shared.storage)
        except BaseException:
            await engine.close()
            raise
        self.end_experiment()
        self.experiment = Experiment(engine, share)
        self._settle()

    def _settle(self) -> None:
        """Let the engines that answer, and no others, embed what was put into the catalogue; tell which are loaded."""
        loaded = self._shared.metrics.loaded_bundles
        loaded.clear()
        for role, engine in self.loaded().items():
            loaded.labels(engine.bundle.manifest.id, role).set(1)
        answering = {self.current.bundle.manifest.id: self.current}
        if self.experiment is not None:
            answering[self.experiment.engine.bundle.manifest.id] = self.experiment.engine
        for bundle_id in self._keeping_up.keys() - answering.keys():
            self._keeping_up.pop(bundle_id).cancel()
        for bundle_id in answering.keys() - self._keeping_up.keys():
            task = asyncio.ensure_future(answering[bundle_id].keep_up(self._shared.storage))
            self._keeping_up[bundle_id] = task

    def _retire(self, engine: Engine) -> None:
        """Close an engine when no request can be using it any more."""
        settings = self._shared.settings

        async def close_later() -> None:
            try:
                await asyncio.sleep(settings.embed_timeout_seconds + settings.rank_timeout_seconds)
            finally:
                await engine.close()
            lasting_memory.settle()

        task = asyncio.ensure_future(close_later())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


@asynccontextmanager
async def open_versions(
    folder: Path, settings: Settings, storage: Storage, metrics: Metrics
) -> AsyncIterator[Versions]:
    """Load the bundle in `folder`, and let it answer; its encoder may still be starting, see `Versions.started`.

    Raises:
        BundleError: the bundle cannot be read or does not answer.
        ConfigError: a setting cannot be used.
    """
    cache = open_cache(settings, metrics)
    queue = RankQueue(settings, metrics)
    try:
        shared = Shared(settings=settings, storage=storage, cache=cache, queue=queue, metrics=metrics)
        engine = await open_engine(folder, shared)
        try:
            await engine.attach(storage)
        except StorageError as error:
            logger.warning("starting without the items that were added: %s", error)
        versions = Versions(shared, engine)
        try:
            yield versions
        finally:
            await versions.close()
    finally:
        await asyncio.to_thread(queue.close)
        await cache.close()
