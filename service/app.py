"""The app: its parts put together, and nothing else."""

from fastapi import FastAPI

from llmemb import __version__
from service.http.middleware.stack import add_middleware
from service.http.openapi.description import describe
from service.http.routes import admin, embeddings, items, operations, pages, recommend, sessions
from service.http.routes.lean_route import LeanMiddleware
from service.observability.metrics import Metrics
from service.problems import add_problem_handlers
from service.runtime import lifespan
from service.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Make the app; its lifespan loads the bundle.

    Raises:
        ConfigError: a file that the settings name cannot be used.
    """
    app = FastAPI(
        title="LLMEmb",
        version=__version__,
        summary="Item embeddings from text, and next-item recommendations from them.",
        description="Every error is a problem in the sense of RFC 9457, `application/problem+json`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # `service/observability/` tells what is to be told; FastAPI's own asks the environment three times a request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    # Routes are looked through in their order: the one that is asked most comes first.
    for routes in (recommend, items, sessions, embeddings, admin, operations, pages):
        app.include_router(routes.router)
    if settings.report is not None:
        app.include_router(pages.report_routes(settings.report))
    app.mount(pages.ASSETS_PATH, pages.swagger_assets())
    add_problem_handlers(app)
    # Innermost: all that stands around routes stands around these too.
    app.add_middleware(LeanMiddleware, router=recommend.router)
    add_middleware(app, settings, app.state.metrics)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's own way to replace it
    return app
