"""What stands around the routes, in one place, since its order matters.

From the outside in:

1. CORS, where origins are set: answers a browser's preflight, which brings no key, and lets pages read every answer,
   errors too.
2. the request: id, time, log, metrics, traces, the security headers, and the 500 for what nobody caught. All below is
   seen by it.
3. API keys: who is not allowed costs no more than this, and nothing of the body is read.
4. rate limit: it counts by the key that was found.
5. body: its length and its time.
6. item ids: how the path is read.
"""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp

from service.client_address import TrustedProxies
from service.guard.key_middleware import KEY_HEADER, KeyMiddleware
from service.guard.keys import KeyRing
from service.guard.rate_limits import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER, RateLimiter, RateMiddleware
from service.http.middleware.headers import with_security_headers
from service.http.middleware.limits import Admission, BodyLimitMiddleware, Refusal
from service.http.middleware.request import REQUEST_ID_HEADER, RequestMiddleware
from service.http.routes.lean_route import ItemPathMiddleware
from service.observability.logs import log_request
from service.observability.metrics import Metrics
from service.observability.tracing import Tracing
from service.problems import PROBLEMS
from service.settings import Settings

_CORS_SECONDS = 600


def add_middleware(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Put the middleware around `app`; its lifespan lets `app.state.tracing` export.

    Raises:
        ConfigError: the file of the API keys cannot be used, or traces are asked for and cannot be made.
    """
    app.state.tracing = tracing = Tracing()
    for code in PROBLEMS:
        metrics.problems.labels(code)  # from 0 on, so that the first one is seen as an increase
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


def with_admission(app: ASGIApp, settings: Settings, metrics: Metrics) -> Admission:
    """Bound how many recommendations run, outside of all that stands around the routes of `app`."""
    refusal: ASGIApp = Refusal(metrics)
    if settings.cors_origins:
        refusal = _Cors(refusal, settings.cors_origins)
    admission = Admission(app, refusal, settings.rank_max_running)
    metrics.rank_running.set_function(lambda: admission.running)
    metrics.rank_max_running.set(settings.rank_max_running)
    return admission


class _Cors(CORSMiddleware):
    """What pages of these origins may do."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Type", KEY_HEADER, REQUEST_ID_HEADER),
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
        """Answer what a browser asks before it sends a request; nothing below sees it."""
        response = super().preflight_response(request_headers)
        response.raw_headers = with_security_headers(response.raw_headers)
        return response
