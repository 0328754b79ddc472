"""What routes ask for in their signatures."""

from typing import Annotated, cast

from fastapi import Depends, Request

from service.engine import Engine
from service.metrics import Metrics
from service.settings import Settings


def _engine(request: Request) -> Engine:
    return cast(Engine, request.app.state.engine)


def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


EngineDep = Annotated[Engine, Depends(_engine)]
SettingsDep = Annotated[Settings, Depends(_settings)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
