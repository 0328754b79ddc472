"""Metrics: each documented, each named as Prometheus has it."""

from prometheus_client.parser import text_string_to_metric_families

from service.sight.metrics import Metrics


def test_every_metric_is_ours_documented_and_exposed() -> None:
    """By name, type and meaning; a name comes once."""
    metrics = Metrics()
    families = text_string_to_metric_families(metrics.exposition().decode())
    exposed = {family.name: family for family in families if not family.name.endswith("_created")}
    names = [info.name.removesuffix("_total") for info in metrics.infos]

    assert sorted(exposed) == sorted(names)
    for name, info in zip(names, metrics.infos, strict=True):
        assert name.startswith("llmemb_")
        assert exposed[name].type == info.kind
        assert exposed[name].documentation == info.meaning
        assert info.meaning.endswith(".")


def test_apps_count_apart() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.fallbacks.inc()

    assert b"llmemb_fallbacks_total 1.0" in first.exposition()
    assert b"llmemb_fallbacks_total 0.0" in second.exposition()
