"""An app's life: its runtime is open while it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.runtime import open_runtime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the runtime that the app's settings ask for, and close it when the app has stopped serving."""
    async with app.state.tracing.exporting(), open_runtime(app.state.settings, app.state.metrics) as runtime:
        app.state.runtime = runtime
        yield
