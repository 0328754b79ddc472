"""Prometheus in compose, by the profile `observe`: it finds the replicas by itself, and tells of an outage."""

import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.docker.compose import Compose, seconds_until
from tests.support.load import show

pytestmark = pytest.mark.docker


def ask(compose: Compose, path: str, **query: str) -> Any:
    """Ask Prometheus from inside its container, since its port is not published."""
    url = f"http://127.0.0.1:9090/api/v1/{path}?{urlencode(query)}"
    answer = json.loads(compose.run("exec", "--no-TTY", "prometheus", "wget", "-q", "-O", "-", url))
    assert answer["status"] == "success"
    return answer["data"]


def scraped(compose: Compose) -> set[str]:
    """The replicas that gave their metrics, by address."""
    found = ask(compose, "query", query='up{job="llmemb"} == 1')["result"]
    return {series["metric"]["instance"] for series in found}


def tells_of_storage(compose: Compose) -> set[str]:
    """The replicas for which the alert fires."""
    return {
        alert["labels"]["instance"]
        for alert in ask(compose, "alerts")["alerts"]
        if alert["state"] == "firing" and alert["labels"]["alertname"] == "StorageAway"
    }


def addresses(compose: Compose) -> set[str]:
    """Where each replica gives its metrics, within the deployment's network."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:8000"
    return {
        compose.call("docker", "inspect", "--format", form, replica).strip()
        for replica in compose.containers("service")
    }


def test_redis_stopped_fires_for_every_replica(whole: Compose, pytestconfig: pytest.Config) -> None:
    """Each is scraped by its own address; the alert fires for all, with the patience that it has, and ends."""
    whole.run("--profile", "observe", "up", "--detach", "--wait", "prometheus")
    replicas = addresses(whole)
    seconds_until(lambda: scraped(whole) == replicas, "every replica is scraped")
    assert tells_of_storage(whole) == set()

    whole.run("stop", "redis")
    fired = seconds_until(lambda: tells_of_storage(whole) == replicas, "the storage alert fires")
    whole.run("start", "redis")
    began = time.monotonic()
    seconds_until(lambda: not tells_of_storage(whole), "it ends")
    show(
        pytestconfig,
        f"Redis stopped: StorageAway fires for {len(replicas)} replicas after {fired:.0f} s; started again, it ends "
        f"after {time.monotonic() - began:.0f} s",
    )
