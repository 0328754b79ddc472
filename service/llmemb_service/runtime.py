"""The state of a running service: storage, the loaded bundles, and readiness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from llmemb.bundle.read import read_manifest
from llmemb_service.bundles.readiness import Readiness
from llmemb_service.bundles.versions import Versions, chosen_bundle, open_versions
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from llmemb_service.storage.storage import Storage, open_storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """The parts of the running service that the routes use."""

    storage: Storage
    versions: Versions
    readiness: Readiness


@asynccontextmanager
async def open_runtime(settings: Settings, metrics: Metrics) -> AsyncIterator[Runtime]:
    """Open the storage and the bundle; close them in reverse order.

    Raises:
        BundleError: the bundle cannot be read or cannot answer.
        ConfigError: a setting cannot be used.
    """
    folder = chosen_bundle(settings)
    manifest = await asyncio.to_thread(read_manifest, folder)
    async with (
        open_storage(settings, manifest.items_read) as storage,
        open_versions(folder, settings, storage, metrics) as versions,
    ):
        readiness = Readiness(
            versions,
            storage,
            metrics,
            reuse_seconds=settings.readiness_cache_seconds,
            timeout_seconds=settings.readiness_timeout_seconds,
        )
        yield Runtime(storage=storage, versions=versions, readiness=readiness)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the app's runtime before it serves, and close it afterwards."""
    async with app.state.tracing.exporting(), open_runtime(app.state.settings, app.state.metrics) as runtime:
        app.state.runtime = runtime
        yield
