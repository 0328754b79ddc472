"""Traces reach a collector, continue the client's own, and hold no text."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.small_app import small_app

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "Secret-Title-42"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests()
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server
        server.shutdown()
        thread.join()


def ask(*requests: tuple[str, str, dict[str, Any]]) -> list[httpx2.Response]:
    """Send requests to an app while it exports; all spans are out when it has ended."""
    app = small_app()

    async def send() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.state.tracing.exporting(),
            httpx2.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            return [await client.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(send())


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_request_is_a_span_of_the_clients_trace(collector: Collector) -> None:
    """Route, status, request id, bundle and the parts of its time."""
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    [response] = ask(("POST", "/recommend", {"json": {"text": SECRET}, "headers": headers}))
    [span] = collector.spans()
    told = attributes(span)

    assert collector.paths == ["/v1/traces"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert (span.name, span.kind) == ("POST /recommend", Span.SPAN_KIND_SERVER)
    assert told["http.route"] == "/recommend"
    assert told["http.response.status_code"] == 200
    assert told["llmemb.request_id"] == response.headers["X-Request-Id"]
    assert told["llmemb.bundle_id"] == "sha-1"
    assert (told["llmemb.queue_ms"], told["llmemb.rank_ms"]) == (1.0, 2.0)
    assert span.start_time_unix_nano < span.end_time_unix_nano


def test_request_without_a_trace_begins_one(collector: Collector) -> None:
    """Also when what it brings is no trace."""
    ask(("GET", "/nowhere", {}), ("GET", "/nowhere", {"headers": {"traceparent": "nonsense"}}))
    spans = collector.spans()

    assert len({span.trace_id for span in spans}) == 2
    assert all(not span.parent_span_id for span in spans)


def test_failed_request_is_an_error_without_its_message(collector: Collector) -> None:
    """What the client sent is in no span: not in the path, the query or an exception."""
    ask(
        ("POST", "/embed_items", {"json": {"text": SECRET}}),
        ("PUT", f"/items/{SECRET}?query={SECRET}", {}),
        ("GET", f"/{SECRET}", {}),
    )
    codes = {span.name: span.status.code for span in collector.spans()}

    assert codes == {
        "POST /embed_items": Status.STATUS_CODE_ERROR,
        "PUT /items/{item_id}": Status.STATUS_CODE_UNSET,
        "GET unmatched": Status.STATUS_CODE_UNSET,
    }
    assert all(SECRET.encode() not in body for body in collector.bodies)


@pytest.mark.parametrize(("own_name", "expected"), [(None, "llmemb"), ("shop-search", "shop-search")])
def test_service_has_a_name(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, own_name: str | None, expected: str
) -> None:
    """The operator's, where there is one."""
    if own_name is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", own_name)
    ask(("GET", "/healthz", {}))
    resource = collector.requests()[0].resource_spans[0].resource
    names = {each.key: each.value.string_value for each in resource.attributes}

    assert names["service.name"] == expected


def test_without_an_endpoint_nothing_is_imported() -> None:
    """Neither the SDK nor the exporter, and requests are answered all the same."""
    program = (
        "import asyncio, sys\n"
        "from llmemb_service.observability.tracing import Tracing\n"
        "async def run():\n"
        "    async with Tracing({}).exporting(): pass\n"
        "asyncio.run(run())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_endpoint_without_the_extra_stops_the_start() -> None:
    """The message says what to install."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from llmemb_service.observability.tracing import Tracing\n"
        "try: Tracing({'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT': 'http://x'})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.startswith("ConfigError OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set")
    assert "pip install 'llmemb[otel]'" in done.stdout
