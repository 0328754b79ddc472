"""The middleware around the routes, in one module because its order matters.

From the outside in:

1. CORS, if origins are set: answers a browser's preflight, which has no API key, and lets pages read every answer,
   errors included.
2. Request: id, timing, log, metrics, traces, security headers, and 500 for unhandled exceptions. It observes all inner
   layers.
3. API keys: an unauthorized request stops here, before its body is read.
4. Rate limit: counts by API key, or by address.
5. Body: size limit, timeout and decompression.
6. Item ids: keeps them encoded in the path.
"""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp

from llmemb_service.client_address import TrustedProxies
from llmemb_service.guard.key_middleware import KEY_HEADER, KeyMiddleware
from llmemb_service.guard.keys import KeyRing
from llmemb_service.guard.rate_limits import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER, RateLimiter, RateMiddleware
from llmemb_service.http.middleware.headers import with_security_headers
from llmemb_service.http.middleware.limits import BodyLimitMiddleware, ConcurrencyLimit, Refusal
from llmemb_service.http.middleware.request import REQUEST_ID_HEADER, RequestMiddleware
from llmemb_service.http.routes.lean_route import ItemPathMiddleware
from llmemb_service.observability.logs import log_request
from llmemb_service.observability.metrics import Metrics
from llmemb_service.observability.tracing import Tracing
from llmemb_service.problems import PROBLEMS
from llmemb_service.settings import Settings

_CORS_SECONDS = 600


def add_middleware(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Add the middleware to `app`; the lifespan starts the export of `app.state.tracing`.

    Raises:
        ConfigError: the API key file cannot be used, or tracing is configured and cannot start.
    """
    app.state.tracing = tracing = Tracing()
    for code in PROBLEMS:
        metrics.problems.labels(code)  # starts at 0, so that Prometheus sees the first problem as an increase
    # The last one added is the outermost.
    app.add_middleware(ItemPathMiddleware)
    app.add_middleware(
        BodyLimitMiddleware, max_body_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds
    )
    if settings.api_keys_file is not None or settings.rate_limit_per_minute is not None:
        app.add_middleware(
            RateMiddleware,
            limit_per_minute=settings.rate_limit_per_minute,
            limiter=RateLimiter(),
            trusted_proxies=TrustedProxies(settings.forwarded_allow_ips),
            metrics=metrics,
        )
    if settings.api_keys_file is not None:
        app.add_middleware(KeyMiddleware, keys=KeyRing(settings.api_keys_file), metrics=metrics)
    app.add_middleware(RequestMiddleware, metrics=metrics, observers=(metrics.observe, log_request, tracing.observe))
    if settings.cors_origins:
        app.add_middleware(_Cors, origins=settings.cors_origins)


def with_concurrency_limit(app: ASGIApp, settings: Settings, metrics: Metrics) -> ConcurrencyLimit:
    """Limit the concurrent recommendations. It wraps all other middleware, so that a refusal costs little."""
    refusal: ASGIApp = Refusal(metrics)
    if settings.cors_origins:
        refusal = _Cors(refusal, settings.cors_origins)
    limit = ConcurrencyLimit(app, refusal, settings.max_concurrent_recommendations)
    metrics.concurrent_recommendations.set_function(lambda: limit.running)
    metrics.max_concurrent_recommendations.set(settings.max_concurrent_recommendations)
    return limit


class _Cors(CORSMiddleware):
    """CORS for pages of the configured origins."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Encoding", "Content-Type", KEY_HEADER, REQUEST_ID_HEADER),
            expose_headers=(
                "Retry-After",
                "Server-Timing",
                REQUEST_ID_HEADER,
                LIMIT_HEADER,
                REMAINING_HEADER,
                RESET_HEADER,
            ),
            max_age=_CORS_SECONDS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser's preflight request, which no inner middleware sees."""
        response = super().preflight_response(request_headers)
        response.raw_headers = with_security_headers(response.raw_headers)
        return response
