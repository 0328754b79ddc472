"""What routes ask for in their signatures.

All of it is `async`: FastAPI runs what is not in a thread, at ten times the cost of the rest of a request.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.engine import Engine
from service.readiness import Readiness
from service.runtime import Runtime
from service.settings import Settings
from service.sight.metrics import Metrics
from service.storage.session_store import SessionStore
from service.versions import Versions


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
