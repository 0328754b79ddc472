"""The embedding routes alone, served with real parts on a real socket."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from llmemb.bundle import read_bundle
from llmemb_service.encoding.cache import MemoryCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.encoding.encoder_process import EncoderProcess
from llmemb_service.http.middleware.stack import add_middleware
from llmemb_service.http.routes import embeddings
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import add_problem_handlers
from llmemb_service.settings import Settings
from tests.support.encoder import make_encoder_process
from tests.support.waiting import wait_until


@dataclass
class EmbeddingServer:
    """A served app: its address up to `/v1`, its metrics and its encoder."""

    url: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    process: EncoderProcess | None = None


@contextmanager
def serving_embeddings(bundle_folder: Path, *, max_items: int = 64) -> Iterator[EmbeddingServer]:
    """Serve `/v1/embeddings` of a bundle; a request takes at most 16 texts of 200 characters."""
    served = EmbeddingServer()
    app = _make_app(bundle_folder, served, max_items)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), "the server starts")
            served.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            yield served
        finally:
            server.should_exit = True
            thread.join()


def _make_app(bundle_folder: Path, served: EmbeddingServer, max_items: int) -> FastAPI:
    bundle = read_bundle(bundle_folder)
    settings = Settings(bundle=bundle_folder, max_client_batch_size=16, max_value_characters=200, max_queued_items=16)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        process = make_encoder_process(bundle_folder, max_items=max_items, timeout_seconds=500, metrics=served.metrics)
        await process.start()
        served.process = process
        embedder = ItemEmbedder(
            bundle=bundle, cache=MemoryCache(1000), encoder=process, timeout_seconds=60, metrics=served.metrics
        )
        engine = SimpleNamespace(bundle=bundle, embedder=embedder)
        app.state.runtime = SimpleNamespace(versions=SimpleNamespace(current=engine))
        try:
            yield
        finally:
            await process.close()

    app = FastAPI(lifespan=lifespan)
    app.state.settings = settings
    app.state.metrics = served.metrics
    app.include_router(embeddings.router)
    add_problem_handlers(app)
    add_middleware(app, settings, served.metrics)
    return app
