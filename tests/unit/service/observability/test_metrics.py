"""Metrics: each documented, each named as Prometheus has it."""

from prometheus_client.parser import text_string_to_metric_families

from llmemb_service.observability.logs import ServedRequest
from llmemb_service.observability.metrics import Metrics


def test_every_metric_is_ours_documented_and_exposed() -> None:
    """By name, type and meaning; a name comes once."""
    metrics = Metrics()
    families = text_string_to_metric_families(metrics.exposition().decode())
    exposed = {family.name: family for family in families if not family.name.endswith("_created")}
    names = [info.name.removesuffix("_total") for info in metrics.infos]

    assert sorted(exposed) == sorted(names)
    for name, info in zip(names, metrics.infos, strict=True):
        assert name.startswith(("llmemb_", "http_server_"))
        assert exposed[name].type == info.kind
        assert exposed[name].documentation == info.meaning
        assert info.meaning.endswith(".")


def test_apps_count_apart() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.fallbacks.inc()

    assert b"llmemb_fallbacks_total 1.0" in first.exposition()
    assert b"llmemb_fallbacks_total 0.0" in second.exposition()


def test_series_of_a_bundle_are_removed_and_begin_again() -> None:
    """Those of other bundles stay, and a bundle that is loaded again is counted from 0."""
    metrics = Metrics()
    of_bundles = [info for info in metrics.infos if "bundle" in info.labels]

    def count(bundle_id: str) -> None:
        metrics.observe(served_by(bundle_id))
        for info in of_bundles:
            metric = getattr(metrics, info.name.removeprefix("llmemb_").removesuffix("_total"))
            metric.labels(bundle_id, *info.labels[1:]).inc()

    count("old")
    count("new")
    kept = series_of(metrics, "new")
    metrics.forget_bundle("old")

    assert {name for name, _ in kept} == {info.name for info in of_bundles}
    assert series_of(metrics, "old") == set()
    assert series_of(metrics, "new") == kept

    metrics.observe(served_by("old"))
    assert series_of(metrics, "old") == {("llmemb_bundle_requests_total", 1.0)}


def served_by(bundle_id: str) -> ServedRequest:
    return ServedRequest(
        request_id="1",
        method="GET",
        route="/info",
        status=200,
        started_ns=0,
        seconds=0.01,
        parts={},
        num_bytes=2,
        key_name=None,
        bundle_id=bundle_id,
        problem=None,
        trace_headers={},
    )


def series_of(metrics: Metrics, bundle_id: str) -> set[tuple[str, float]]:
    """Names and values of the series of a bundle."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = (sample for family in families for sample in family.samples)
    return {
        (each.name, each.value)
        for each in samples
        if each.labels.get("bundle") == bundle_id and "_created" not in each.name
    }
