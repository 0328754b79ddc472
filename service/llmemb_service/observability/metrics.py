"""Every metric of the service: names, units, buckets. Each app has a registry of its own.

`docs/metrics.md` is made from this file. A label's values are few and known: route templates, statuses, the names of
API keys, ids of loaded bundles; never what a client makes up.
"""

from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE

from llmemb_service.observability.logs import ServedRequest

__all__ = ["CONTENT_TYPE", "MetricInfo", "Metrics"]

# For requests too: OpenTelemetry's own bounds begin at 5 ms, which most recommendations take less than.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


_NAMESPACE = "llmemb"
_HTTP_SERVER = "http_server"
"""Of what OpenTelemetry's semantic conventions for HTTP have a name and labels for."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What the documentation says of a metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.infos: list[MetricInfo] = []
        """All metrics, in the order of the documentation."""
        self._by_bundle: list[Counter | Gauge] = []
        """Those with a label `bundle`."""

        # Requests.
        self.request_duration = self._histogram(
            "request_duration_seconds",
            "Duration of requests, from arrival to the end of the answer; the method is `_OTHER` where it is none of "
            "HTTP's, the route `unmatched` where there is none, the status 499 where the client did not wait, 0 where "
            "the service stopped before it answered.",
            _SECONDS,
            "http_request_method",
            "http_route",
            "http_response_status_code",
            namespace=_HTTP_SERVER,
        )
        self.active_requests = self._gauge(
            "active_requests", "Requests that are being answered.", namespace=_HTTP_SERVER
        )
        self.loaded_bundles = self._gauge(
            "loaded_bundles", "Bundles in memory; role: current, previous or experiment.", "bundle", "role"
        )
        self.bundle_requests = self._counter("bundle_requests", "Requests by the bundle that answered.", "bundle")
        self.problems = self._counter("problems", "Requests answered by a problem, by its code.", "code")

        # The process.
        self.start_time = self._gauge("start_time_seconds", "When the process began to serve, in seconds since 1970.")
        self.start_time.set_to_current_time()
        self.check_ok = self._gauge(
            "check_ok", "1 where a part was well when `/readyz` was last asked, else 0.", "check"
        )

        # Guard.
        self.key_requests = self._counter("key_requests", "Requests by the name of their API key.", "key")
        self.auth_failures = self._counter(
            "auth_failures", "Requests refused for their API key: missing, unknown, or without the role.", "reason"
        )
        self.rate_limited = self._counter("rate_limited", "Requests over the rate limit, by key.", "key")

        # Encoder.
        self.embedded_items = self._counter("embedded_items", "Items embedded, those from the cache among them.")
        self.cache_lookups = self._counter("cache_lookups", "Vectors looked for in the cache: hit or miss.", "result")
        self.redis_errors = self._counter("redis_errors", "Times that Redis failed or took too long.")
        self.queued_items = self._gauge("queued_items", "Items that wait for the encoder or are in it.")
        self.max_queued_items = self._gauge("max_queued_items", "How many of these there may be.")
        self.batch_items = self._histogram("batch_items", "Items of a batch of the encoder.", _ITEMS)
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of a batch of the encoder, with padding.", _TOKENS)
        self.batch_seconds = self._histogram("batch_seconds", "Time that the encoder took for a batch.", _SECONDS)
        self.encoder_restarts = self._counter("encoder_restarts", "Times that the encoder's process was started again.")

        # Catalogue and index.
        self.catalogue_items = self._gauge("catalogue_items", "Items of the catalogue.", "bundle", "source")
        self.pending_items = self._gauge("pending_items", "Stored items that the bundle has still to embed.", "bundle")
        self.left_out_items = self._gauge(
            "left_out_items", "Stored items whose attributes the bundle does not know.", "bundle"
        )
        self.fresh_rows = self._gauge("fresh_rows", "Rows beside the index, until they are folded into it.", "bundle")
        self.hidden_rows = self._gauge("hidden_rows", "Rows of items that were removed or replaced.", "bundle")
        self.fold_seconds = self._histogram(
            "fold_seconds", "Time to fold added items into the index, in the background.", (*_SECONDS, 120.0, 600.0)
        )
        self.fold_errors = self._counter("fold_errors", "Times that folding failed.")

        # Recommendations.
        self.concurrent_recommendations = self._gauge(
            "concurrent_recommendations", "Requests for recommendations that are under way."
        )
        self.max_concurrent_recommendations = self._gauge(
            "max_concurrent_recommendations", "How many of these there may be."
        )
        self.queued_recommendations = self._gauge(
            "queued_recommendations", "Recommendations that wait or are being computed."
        )
        self.max_queued_recommendations = self._gauge("max_queued_recommendations", "How many of these there may be.")
        self.rank_batch_size = self._histogram("rank_batch_size", "Recommendations computed together.", _ITEMS)
        self.rank_seconds = self._histogram("rank_seconds", "Time for recommendations computed together.", _SECONDS)
        self.fallbacks = self._counter(
            "fallbacks", "Recommendations by popularity: for want of a history, or asked for."
        )
        self.recommended_items = self._counter(
            "recommended_items",
            "Items recommended, by kind: head, tail, cold or added; fallback where popularity chose them.",
            "bundle",
            "kind",
        )
        self.coverage = self._gauge(
            "coverage", "Share of the catalogue that has been recommended since the bundle was loaded.", "bundle"
        )

        # What every request asks for: a look-up here takes a tenth of the client's own.
        self._request_duration_of = cache(self.request_duration.labels)
        self._bundle_requests_of = cache(self.bundle_requests.labels)

    def observe(self, served: ServedRequest) -> None:
        """Count a request that is over."""
        self._request_duration_of(served.method, served.route, served.status).observe(served.seconds)
        if served.bundle_id is not None:
            self._bundle_requests_of(served.bundle_id).inc()
        if served.key_name is not None:
            self.key_requests.labels(served.key_name).inc()
        if served.problem is not None:
            self.problems.labels(served.problem).inc()

    def forget_bundle(self, bundle_id: str) -> None:
        """Remove every series of a bundle; what still counts into one of them is not shown any more."""
        for metric in self._by_bundle:
            metric.remove_by_labels({"bundle": bundle_id})
        self._bundle_requests_of.cache_clear()

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        self.infos.append(MetricInfo(f"{_NAMESPACE}_{name}_total", "counter", labels, meaning))
        counter = Counter(name, meaning, labels, namespace=_NAMESPACE, registry=self._registry)
        if "bundle" in labels:
            self._by_bundle.append(counter)
        return counter

    def _gauge(self, name: str, meaning: str, *labels: str, namespace: str = _NAMESPACE) -> Gauge:
        self.infos.append(MetricInfo(f"{namespace}_{name}", "gauge", labels, meaning))
        gauge = Gauge(name, meaning, labels, namespace=namespace, registry=self._registry)
        if "bundle" in labels:
            self._by_bundle.append(gauge)
        return gauge

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str, namespace: str = _NAMESPACE
    ) -> Histogram:
        self.infos.append(MetricInfo(f"{namespace}_{name}", "histogram", labels, meaning))
        return Histogram(name, meaning, labels, namespace=namespace, buckets=buckets, registry=self._registry)
