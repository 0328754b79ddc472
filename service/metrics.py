"""Every metric of the service: names, units, buckets. Each app has a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "method", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "From a request's arrival to its answer's end.", _SECONDS, "route"
        )
        self.embedded_items = self._counter("embedded_items", "Items embedded, those from the cache among them.")
        self.cache_lookups = self._counter("cache_lookups", "Vectors looked for in the cache: hit or miss.", "result")
        self.redis_errors = self._counter("redis_errors", "Times that Redis failed or took too long.")
        self.queue_items = self._gauge("queue_items", "Items that wait for the encoder or are in it.")
        self.batch_items = self._histogram("batch_items", "Items of a batch of the encoder.", _ITEMS)
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of a batch of the encoder, with padding.", _TOKENS)
        self.batch_seconds = self._histogram("batch_seconds", "Time that the encoder took for a batch.", _SECONDS)
        self.catalogue_items = self._gauge("catalogue_items", "Items that can be recommended.", "source")
        self.left_out_items = self._gauge("left_out_items", "Stored items whose attributes the bundle does not know.")
        self.fallbacks = self._counter("fallbacks", "Recommendations by popularity, for want of a history.")

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"llmemb_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"llmemb_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"llmemb_{name}", meaning, labels, buckets=buckets, registry=self._registry)
