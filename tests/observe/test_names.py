"""Rules and dashboard ask for metrics that the service has, by labels that these have; alerts say what to do."""

import re

import pytest

from llmemb_service.observability.metrics import MetricInfo, Metrics
from tests.observe.watched import Query, Rule, alerts, dashboard, queries, rules, selectors

OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}
OF_HAPROXY = {
    "haproxy_backend_active_servers": {"proxy"},
    "haproxy_backend_current_queue": {"proxy"},
    "haproxy_frontend_current_sessions": {"proxy"},
    "haproxy_frontend_http_responses_total": {"proxy", "code"},
}
"""As HAProxy 2.6 names them; `test_gateway.py` asks a real one."""
FROM_SCRAPING = {"job", "instance"}


def series(info: MetricInfo) -> dict[str, set[str]]:
    """The names under which a metric is stored, and their labels."""
    labels = set(info.labels) | FROM_SCRAPING
    if info.kind != "histogram":
        return {info.name: labels}
    return {f"{info.name}_bucket": labels | {"le"}, f"{info.name}_sum": labels, f"{info.name}_count": labels}


def known() -> dict[str, set[str]]:
    """Every name that may be asked for, and its labels."""
    ours = [series(info) for info in Metrics().infos]
    recorded = {rule.name: {"instance", "bundle"} for rule in rules() if not rule.is_alert}
    return {name: labels for names in [*ours, recorded, OF_PROMETHEUS, OF_HAPROXY] for name, labels in names.items()}


@pytest.mark.parametrize("asking", [*rules(), *queries()], ids=lambda asking: getattr(asking, "name", None))
def test_every_metric_that_is_asked_for_exists(asking: Rule | Query) -> None:
    """By its name, with the labels that it is picked by."""
    names = known()
    asked = selectors(asking.expr)

    assert asked, "the expression asks for something"
    assert [(name, labels) for name, labels in asked if name not in names or not labels <= names[name]] == []


def test_every_alert_is_complete() -> None:
    """A name of its own, how urgent it is, what happens, and where the runbook has it."""
    named = alerts()

    assert len({alert.name for alert in named}) == len(named) > 20
    for alert in named:
        assert alert.labels["severity"] in {"critical", "warning"}
        assert set(alert.annotations) == {"summary", "description", "runbook"}
        assert alert.annotations["runbook"] == f"docs/runbook.md#{alert.name.lower()}"


def test_dashboard_is_one_that_grafana_can_provision() -> None:
    """Ids are unique, panels do not overlap within 24 columns, and each queries the chosen Prometheus."""
    panels = dashboard()["panels"]
    drawn = [panel for panel in panels if panel["type"] != "row"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    assert {panel["datasource"]["uid"] for panel in drawn} == {"${datasource}"}
    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in drawn)
    assert {variable["name"] for variable in dashboard()["templating"]["list"]} == {"datasource", "instance"}


def test_counters_are_never_shown_as_they_are() -> None:
    """A counter starts anew with each process: only `rate`, `increase` and the like make sense of it."""
    counters = {name for info in Metrics().infos if info.kind != "gauge" for name in series(info)}
    bare = [
        (asking, name)
        for asking in [*rules(), *queries()]
        for name, _ in selectors(asking.expr)
        if name in counters and not re.search(rf"\b(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\[", asking.expr)
    ]

    assert bare == []
