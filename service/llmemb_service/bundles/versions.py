"""The loaded bundles: the current one, the previous one for a rollback, and an optional one for an experiment."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from llmemb.bundle import MANIFEST_FILE
from llmemb.bundle.read import read_manifest
from llmemb.errors import LlmembError
from llmemb.files import write_text_atomically
from llmemb_service import lasting_memory
from llmemb_service.bundles.engine import Engine, Shared, open_engine
from llmemb_service.encoding.cache import open_cache
from llmemb_service.errors import BundleNotFoundError, StorageError, SwapRefusedError
from llmemb_service.observability.metrics import Metrics
from llmemb_service.ranking.rank_queue import RankQueue
from llmemb_service.ranking.replay import Replayed, replay
from llmemb_service.settings import Settings
from llmemb_service.storage.storage import Storage

_FILE = "bundle.json"

logger = logging.getLogger(__name__)


class _Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    configured: str
    """The bundle of the settings at the time of the choice. If the settings now name another one, it is used."""
    chosen: str


def chosen_bundle(settings: Settings) -> Path:
    """Return the folder of the bundle to start with."""
    path = settings.state_dir / _FILE
    if settings.redis_url is not None or not path.is_file():
        return settings.bundle
    try:
        choice = _Choice.model_validate_json(path.read_bytes())
    except ValidationError:
        logger.warning("%s cannot be read; using the bundle of the settings", path)
        return settings.bundle
    chosen = Path(choice.chosen)
    if choice.configured != str(settings.bundle.resolve()) or not (chosen / MANIFEST_FILE).is_file():
        return settings.bundle
    return chosen


def write_chosen_bundle(settings: Settings, folder: Path) -> None:
    """Store the folder of the current bundle for the next start."""
    if settings.redis_url is None:
        choice = _Choice(configured=str(settings.bundle.resolve()), chosen=str(folder.resolve()))
        write_text_atomically(settings.state_dir / _FILE, choice.model_dump_json() + "\n")


Result = TypeVar("Result")
Role = Literal["current", "previous", "experiment"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A second bundle and the share of the sessions that it answers."""

    engine: Engine
    share: float

    def has(self, session_id: str) -> bool:
        """Return whether a session is in the experiment: always the same result, at every replica."""
        digest = hashlib.sha256(f"{self.engine.bundle.manifest.id}:{session_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class Swap:
    """The result of a swap."""

    previous: Engine
    current: Engine
    embedded_items: int
    replayed: Replayed


class Versions:
    """The loaded bundles. Only one change runs at a time.

    Args:
        shared: the parts that all bundles share.
        current: the bundle that answers; its encoder may still be starting.
    """

    def __init__(self, shared: Shared, current: Engine) -> None:
        self.current = current
        self.previous: Engine | None = None
        self.experiment: Experiment | None = None
        self.loading: str | None = None
        """Name of the bundle that is being loaded, None if there is none."""
        self.started = asyncio.ensure_future(current.try_embedding())
        """Done when the first bundle's encoder has started; fails with the error if it cannot."""
        self._shared = shared
        self._engines = {current.bundle.manifest.id: current}
        """Bundle id -> its open engine, with or without a role; removed when it begins to close."""
        self._retiring: dict[str, asyncio.Task[None]] = {}
        """Bundle id -> the task that closes its engine."""
        self._candidate: Engine | None = None
        """The engine that is being prepared for a role, None if there is none."""
        self._change: asyncio.Task[object] | None = None
        """The running change, None if there is none."""
        self._apply_roles()

    def for_session(self, session_id: str | None) -> Engine:
        """Return the engine that answers a session, or a request without one."""
        if self.experiment is not None and session_id is not None and self.experiment.has(session_id):
            return self.experiment.engine
        return self.current

    def find(self, bundle_id: str) -> Engine | None:
        """Return the engine of a bundle, or None if it is not loaded."""
        return next((each for each in self.loaded().values() if each.bundle.manifest.id == bundle_id), None)

    def loaded(self) -> dict[Role, Engine]:
        """Return the loaded bundles by role."""
        engines: dict[Role, Engine] = {"current": self.current}
        if self.previous is not None:
            engines["previous"] = self.previous
        if self.experiment is not None:
            engines["experiment"] = self.experiment.engine
        return engines

    def found(self) -> list[str]:
        """Return the sorted names of the bundles that can be loaded."""
        return sorted(manifest.parent.name for manifest in self._bundles_dir.glob(f"*/{MANIFEST_FILE}"))

    async def load(self, name: str) -> Swap:
        """Load a bundle, let it embed the added items and replay recent requests, and make it the current one.

        The change continues if the caller is cancelled.

        Raises:
            BundleNotFoundError: there is no bundle with this name.
            SwapRefusedError: another bundle is being loaded, or this one cannot answer; the current one continues.
        """
        return await self._exclusively(name, self._load(name))

    async def roll_back(self) -> Swap:
        """Swap the current bundle and the previous one.

        Raises:
            BundleNotFoundError: there is no previous bundle.
            SwapRefusedError: a bundle is being loaded, or the previous one cannot answer.
        """
        if self.previous is None:
            raise BundleNotFoundError("there is no previous bundle to roll back to")
        return await self._exclusively(self.previous.name, self._take_over(self.previous))

    async def start_experiment(self, name: str, share: float) -> None:
        """Let a bundle answer a share of the sessions; this replaces a running experiment.

        Raises:
            BundleNotFoundError: there is no bundle with this name.
            SwapRefusedError: another bundle is being loaded, or this one cannot answer.
        """
        await self._exclusively(name, self._start_experiment(name, share))

    def end_experiment(self) -> None:
        """Let the current bundle answer every session again."""
        self.experiment = None
        self._apply_roles()

    async def cache_fault(self) -> str | None:
        """Return why the embedding cache does not work, or None if it works."""
        return await self._shared.cache.fault()

    async def close(self) -> None:
        """Close every engine."""
        if self._change is not None:
            self._change.cancel()
            await asyncio.wait([self._change])
        self.started.cancel()
        for bundle_id in self._engines.keys() & self._retiring.keys():
            self._retiring.pop(bundle_id).cancel()
        await asyncio.gather(self.started, *self._retiring.values(), return_exceptions=True)
        for engine in self._engines.values():
            await engine.close()

    @property
    def _bundles_dir(self) -> Path:
        settings = self._shared.settings
        return settings.bundle.resolve().parent if settings.bundles_dir is None else settings.bundles_dir

    async def _exclusively(self, name: str, change: Coroutine[Any, Any, Result]) -> Result:
        if self.loading is not None:
            change.close()
            raise SwapRefusedError(f"the bundle {self.loading!r} is being loaded; try again when it is done")
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
                self.loading = self._candidate = self._change = None
                self._apply_roles()

        self._change = running = asyncio.ensure_future(run())
        return await asyncio.shield(running)

    async def _prepare(self, name: str) -> Engine:
        """Return the engine of a bundle, loaded if necessary, and keep it open until the change ends.

        Raises:
            As `start_experiment`.
        """
        folder = self._bundles_dir / name
        if not (folder / MANIFEST_FILE).is_file():
            raise BundleNotFoundError(f"there is no bundle {name!r}; there are: {', '.join(self.found()) or 'none'}")
        manifest = await asyncio.to_thread(read_manifest, folder)
        if manifest.id == self.current.bundle.manifest.id:
            raise SwapRefusedError(f"the bundle {name!r} is already the current one: {manifest.id}")
        closing = self._retiring.get(manifest.id)
        if closing is not None and manifest.id not in self._engines:
            await asyncio.wait([closing])
        self._candidate = self._engines.get(manifest.id) or await self._open(folder)
        self._engines[self._candidate.bundle.manifest.id] = self._candidate
        self._apply_roles()
        return self._candidate

    async def _open(self, folder: Path) -> Engine:
        try:
            engine = await open_engine(folder, self._shared)
        except LlmembError:
            raise
        except Exception as error:
            # Libraries raise their own errors for files that they cannot read.
            logger.exception("the bundle %s cannot be loaded", folder.name)
            raise SwapRefusedError(f"the bundle {folder.name!r} cannot be loaded; the log has the reason") from error
        try:
            await engine.try_embedding()
            await engine.attach()
        except BaseException:
            await engine.close()
            raise
        return engine

    async def _load(self, name: str) -> Swap:
        return await self._take_over(await self._prepare(name))

    async def _take_over(self, engine: Engine) -> Swap:
        embedded = await engine.embed_pending()
        replayed = await replay(self.current.recommender, engine.recommender)
        if replayed.failed:
            raise SwapRefusedError(f"{replayed.failed} of {replayed.requests} replayed requests failed")
        # Items that were added during the replay.
        embedded += await engine.embed_pending()
        before = self.current
        self.current, self.previous = engine, before
        if self.experiment is not None and self.experiment.engine is engine:
            self.experiment = None  # the experiment's bundle is promoted
        self._apply_roles()
        write_chosen_bundle(self._shared.settings, engine.bundle.folder)
        logger.info("the bundle %s replaces %s", engine.bundle.manifest.id, before.bundle.manifest.id)
        return Swap(before, engine, embedded, replayed)

    async def _start_experiment(self, name: str, share: float) -> None:
        engine = await self._prepare(name)
        await engine.embed_pending()
        self.experiment = Experiment(engine, share)
        self._apply_roles()

    def _apply_roles(self) -> None:
        """Update metrics and background tasks to the roles, and schedule the closing of engines without a role."""
        roles = self.loaded()
        loaded = self._shared.metrics.loaded_bundles
        loaded.clear()
        for role, engine in roles.items():
            loaded.labels(engine.bundle.manifest.id, role).set(1)
        for bundle_id, engine in self._engines.items():
            if engine in (roles["current"], roles.get("experiment")):
                engine.start_embedding_pending()
            else:
                engine.stop_embedding_pending()
            if engine is self._candidate or engine in roles.values():
                if bundle_id in self._retiring:
                    self._retiring.pop(bundle_id).cancel()
            elif bundle_id not in self._retiring:
                self._retiring[bundle_id] = asyncio.ensure_future(self._retire(bundle_id))

    async def _retire(self, bundle_id: str) -> None:
        """Close an engine after the time that a request may still use it. Cancel the task before then to keep it."""
        settings = self._shared.settings
        await asyncio.sleep(settings.embed_timeout_seconds + settings.rank_timeout_seconds)
        try:
            await self._engines.pop(bundle_id).close()
        finally:
            del self._retiring[bundle_id]
        lasting_memory.freeze()  # no local variable may refer to the engine, or its memory would not be freed


@asynccontextmanager
async def open_versions(
    folder: Path, settings: Settings, storage: Storage, metrics: Metrics
) -> AsyncIterator[Versions]:
    """Load the bundle in `folder` as the current one; its encoder may still be starting, see `Versions.started`.

    Raises:
        BundleError: the bundle cannot be read or cannot answer.
        ConfigError: a setting cannot be used.
    """
    cache = open_cache(settings, metrics)
    queue = RankQueue(settings, metrics)
    try:
        shared = Shared(settings=settings, storage=storage, cache=cache, queue=queue, metrics=metrics)
        engine = await open_engine(folder, shared)
        try:
            await engine.attach()
        except StorageError as error:
            logger.warning("starting without the added items: %s", error)
        versions = Versions(shared, engine)
        try:
            yield versions
        finally:
            await versions.close()
    finally:
        await asyncio.to_thread(queue.close)
        await cache.close()
