"""What routes ask for in their signatures, and work that ends when its client has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service.bundles.engine import Engine
from service.bundles.readiness import Readiness
from service.bundles.versions import Versions
from service.observability.metrics import Metrics
from service.runtime import Runtime
from service.settings import Settings
from service.storage.session_store import SessionStore

Result = TypeVar("Result")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, and cancel it when the client closes the connection. The body must have been read.

    Raises:
        ClientDisconnect: the client has gone.
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
    """Return the runtime of the app that was asked."""
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
    """Return the settings of the app that was asked."""
    return cast(Settings, request.app.state.settings)


async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


VersionsDep = Annotated[Versions, Depends(_versions)]
EngineDep = Annotated[Engine, Depends(_engine)]
"""The bundle that answers, named in the log and the metrics; a route that goes by sessions asks `VersionsDep`."""
SessionsDep = Annotated[SessionStore, Depends(_sessions)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
SettingsDep = Annotated[Settings, Depends(_settings)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
