"""OpenTelemetry traces, where the environment names a collector: one span a request, sent by OTLP over HTTP.

The SDK reads its own variables (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, headers, certificates); without an
endpoint nothing of it is imported.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from llmemb import __version__
from llmemb.errors import ConfigError
from llmemb_service.observability.logs import ServedRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVER_FAULT = 500


class Tracing:
    """Creates a span for each finished request; does nothing if no endpoint is set."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Find out whether a collector is configured.

        Raises:
            ConfigError: an endpoint is set, but OpenTelemetry is not installed.
        """
        endpoint = next((name for name in _ENDPOINTS if environment.get(name)), None)
        self._environment = environment
        self._enabled = endpoint is not None
        self._tracer: Tracer | None = None
        if self._enabled and not _is_installed():
            raise ConfigError(f"{endpoint} is set, but OpenTelemetry is missing: pip install 'llmemb[otel]'")

    @asynccontextmanager
    async def exporting(self) -> AsyncIterator[None]:
        """Export spans in this block, from a background thread; waiting spans are sent at the end of the block.

        At most 2048 spans wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise; past it they are dropped.
        """
        if not self._enabled:
            yield
            return
        provider = _make_provider(self._environment)
        self._tracer = provider.get_tracer("llmemb", __version__)
        try:
            yield
        finally:
            self._tracer = None
            await asyncio.to_thread(provider.shutdown)

    def observe(self, served: ServedRequest) -> None:
        """Create the span of a finished request; it continues the client's trace."""
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = self._tracer.start_span(
            f"{served.method} {served.route}",
            context=TraceContextTextMapPropagator().extract(served.trace_headers),
            kind=SpanKind.SERVER,
            attributes=_attributes(served),
            start_time=served.started_ns,
        )
        if served.status >= _SERVER_FAULT:
            span.set_status(StatusCode.ERROR)
        span.end(served.started_ns + int(served.seconds * 1e9))


def _attributes(served: ServedRequest) -> dict[str, str | int | float]:
    attributes: dict[str, str | int | float] = {
        "http.request.method": served.method,
        "http.route": served.route,
        "http.response.status_code": served.status,
        "http.response.body.size": served.num_bytes,
        "llmemb.request_id": served.request_id,
    }
    if served.key_name is not None:
        attributes["llmemb.key"] = served.key_name
    if served.bundle_id is not None:
        attributes["llmemb.bundle_id"] = served.bundle_id
    return attributes | {f"llmemb.{part}_ms": seconds * 1000 for part, seconds in served.parts.items()}


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _make_provider(environment: Mapping[str, str]) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    names = {"service.version": __version__} | ({} if named else {"service.name": "llmemb"})
    # `exporting` ends it, not the interpreter.
    provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
