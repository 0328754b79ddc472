"""The app: its parts put together, and nothing else."""

from fastapi import FastAPI

from llmemb import __version__
from service.lifespan import lifespan
from service.metrics import Metrics
from service.middleware import BodyLimitMiddleware, RequestMiddleware
from service.openapi import describe
from service.problem_handlers import add_problem_handlers
from service.routes import documentation, items, operations, recommend
from service.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Make the app; its lifespan loads the bundle."""
    app = FastAPI(
        title="LLMEmb",
        version=__version__,
        summary="Item embeddings from text, and next-item recommendations from them.",
        description="Every error is a problem in the sense of RFC 9457, `application/problem+json`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    for routes in (items, recommend, operations, documentation):
        app.include_router(routes.router)
    app.mount(documentation.ASSETS_PATH, documentation.swagger_assets())
    add_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimitMiddleware, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(RequestMiddleware, metrics=app.state.metrics)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's own way to replace it
    return app
