"""A small app with the real middleware around it, and routes that echo, record and break."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from llmemb.errors import ConfigError
from llmemb_service.http.middleware.stack import add_middleware
from llmemb_service.observability.logs import record_part
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import add_problem_handlers
from llmemb_service.settings import Settings


class EchoBody(BaseModel):
    """A body with a text."""

    text: str = ""


def small_app(**settings: Any) -> FastAPI:
    """Make the app; `app.state.metrics` are its metrics."""
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.metrics = Metrics()

    @app.get("/healthz")
    async def healthz() -> None:
        """Answer immediately."""

    @app.post("/recommend")
    async def recommend(request: Request, body: EchoBody) -> dict[str, Any]:
        request.state.bundle_id = "sha-1"
        record_part("queue", 0.001)
        record_part("rank", 0.002)
        return {"id": request.state.request_id}

    @app.put("/items/{item_id}")
    async def put_item(item_id: str) -> str:
        return item_id

    @app.post("/embed_items")
    async def embed_items(body: EchoBody) -> None:
        raise KeyError(body.text)

    @app.get("/admin/{name}")
    def broken(name: str) -> None:
        _ERRORS[name]()

    add_problem_handlers(app)
    add_middleware(app, Settings(bundle=Path(), **settings), app.state.metrics)
    return app


def _raise_runtime_error() -> None:
    raise RuntimeError("secret internals")


def _raise_http_error() -> None:
    raise HTTPException(418, "secret internals")


def _raise_from_another() -> None:
    try:
        EchoBody.model_validate({"text": ["secret internals"]})
    except ValueError as error:
        raise ConfigError("the disk is on fire") from error


def _sleep() -> None:
    time.sleep(0.001)


_ERRORS: dict[str, Callable[[], None]] = {
    "broken": _raise_runtime_error,
    "strange": _raise_http_error,
    "chained": _raise_from_another,
    "slow": _sleep,
}
