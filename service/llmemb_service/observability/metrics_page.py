"""`docs/metrics.md`, made from the metrics: `python -m llmemb_service.observability.metrics_page > docs/metrics.md`."""

import sys

from llmemb_service.observability.metrics import MetricInfo, Metrics

_HEAD = """# Metrics of the service

Made by `python -m llmemb_service.observability.metrics_page` from `metrics.py` beside it; do not edit.

`GET /metrics` gives them in Prometheus' text format. Each process counts for itself, from its start on. Names in
`_seconds` are in seconds. A histogram has the series `_bucket`, `_sum` and `_count`. When a bundle is closed, the
series with its id in the label `bundle` are removed.

`http_server_*` have the names and labels of
[OpenTelemetry's semantic conventions](https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), as Prometheus
writes them. The number of requests is `http_server_request_duration_seconds_count`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """Return the whole page."""
    return _HEAD + "".join(map(_row, Metrics().infos))


def _row(info: MetricInfo) -> str:
    labels = ", ".join(f"`{label}`" for label in info.labels)
    return f"| `{info.name}` | {info.kind} | {labels} | {info.meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
