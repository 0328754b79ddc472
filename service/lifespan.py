"""An app's life: its engine is open while it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.engine import open_engine


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the engine that the app's settings ask for, and close it when the app has stopped serving."""
    async with open_engine(app.state.settings, app.state.metrics) as engine:
        app.state.engine = engine
        yield
