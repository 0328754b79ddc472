"""Assemble the app from its parts."""

from fastapi import FastAPI

from llmemb import __version__
from llmemb_service.http.middleware.stack import add_middleware
from llmemb_service.http.openapi.description import describe
from llmemb_service.http.routes import admin, embeddings, items, operations, pages, recommend, sessions
from llmemb_service.http.routes.lean_route import LeanMiddleware, MethodsMiddleware
from llmemb_service.observability.metrics import Metrics
from llmemb_service.problems import add_problem_handlers
from llmemb_service.runtime import lifespan
from llmemb_service.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Create the app; its lifespan loads the bundle.

    Raises:
        ConfigError: a file in the settings cannot be used.
    """
    app = FastAPI(
        title="LLMEmb",
        version=__version__,
        summary="Item embeddings from text, and next-item recommendations from them.",
        description="Every error is a problem document as in RFC 9457, `application/problem+json`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # `service/llmemb_service/observability/` has its own; FastAPI's reads the environment three times per request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    # Routes are matched in order, so the most frequent one comes first.
    for routes in (recommend, items, sessions, embeddings, admin, operations, pages):
        app.include_router(routes.router)
    if settings.report is not None:
        app.include_router(pages.report_routes(settings.report))
    app.mount(pages.ASSETS_PATH, pages.swagger_assets())
    add_problem_handlers(app)
    # The innermost middleware, so that the others also apply to the routes that it calls.
    app.add_middleware(LeanMiddleware, router=recommend.router)
    app.add_middleware(MethodsMiddleware)
    add_middleware(app, settings, app.state.metrics)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's own way to replace it
    return app
