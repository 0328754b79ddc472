"""What an operator watches the service by, as the repository has it: alert rules, dashboard, and what they ask for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
PROMETHEUS = REPOSITORY / "docker" / "prometheus"
CONFIG = PROMETHEUS / "prometheus.yml"
ALERTS = PROMETHEUS / "alerts.yml"
DASHBOARD = REPOSITORY / "docker" / "grafana" / "dashboards" / "llmemb.json"

RATE_INTERVAL = "1m"
"""What `$__rate_interval` is at Prometheus' scrape interval of 15 s: four of them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `alerts.yml`."""

    name: str
    is_alert: bool
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of the dashboard, as Grafana sends it when all replicas are chosen."""

    row: str
    panel: str
    expr: str


def rules() -> list[Rule]:
    """All rules, in their order."""
    return [
        Rule(
            name=rule.get("alert") or rule["record"],
            is_alert="alert" in rule,
            expr=rule["expr"],
            labels=rule.get("labels", {}),
            annotations=rule.get("annotations", {}),
        )
        for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    """The alerting rules."""
    return [rule for rule in rules() if rule.is_alert]


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana loads it."""
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def queries() -> list[Query]:
    """Every expression of the dashboard's panels."""
    return list(_queries())


def _queries() -> Iterator[Query]:
    row = ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", RATE_INTERVAL).replace("$instance", ".+")
            yield Query(row, panel["title"], expr)


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """Every metric that an expression asks for, and the labels that it picks by."""
    found = re.findall(r"\b((?:llmemb[_:]|http_server_|haproxy_)[\w:]*|up|ALERTS)\b(?:\{([^}]*)\})?", expr)
    return [(name, set(re.findall(r"(\w+)\s*[=!]", inside))) for name, inside in found]
