"""Dependencies of routes, and work that is cancelled when its client disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from llmemb_service.bundles.engine import Engine
from llmemb_service.bundles.readiness import Readiness
from llmemb_service.bundles.versions import Versions
from llmemb_service.observability.metrics import Metrics
from llmemb_service.runtime import Runtime
from llmemb_service.settings import Settings
from llmemb_service.storage.session_store import SessionStore

Result = TypeVar("Result")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, and cancel it when the client disconnects. The body must have been read.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def runtime_of(request: Request) -> Runtime:
    """Return the runtime of the request's app."""
    return cast(Runtime, request.app.state.runtime)


async def _versions(request: Request) -> Versions:
    return runtime_of(request).versions


async def _engine(request: Request) -> Engine:
    engine = runtime_of(request).versions.current
    request.state.bundle_id = engine.bundle.manifest.id
    return engine


async def _sessions(request: Request) -> SessionStore:
    return runtime_of(request).storage.sessions


async def _readiness(request: Request) -> Readiness:
    return runtime_of(request).readiness


def settings_of(request: Request) -> Settings:
    """Return the settings of the request's app."""
    return cast(Settings, request.app.state.settings)


async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


VersionsDep = Annotated[Versions, Depends(_versions)]
EngineDep = Annotated[Engine, Depends(_engine)]
"""The current bundle's engine, recorded in log and metrics. Routes that depend on a session use `VersionsDep`."""
SessionsDep = Annotated[SessionStore, Depends(_sessions)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
SettingsDep = Annotated[Settings, Depends(_settings)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
