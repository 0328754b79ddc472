"""A system that is watched: replicas on one Redis, people who use them, and a real Prometheus that scrapes each."""

import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import pytest
import yaml

from llmemb.api.items import ItemBody
from tests.observe.gateway import Gateway
from tests.observe.watched import ALERTS, CONFIG
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import Load, Work
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def prometheus_program() -> str:
    """Find Prometheus; a test that needs it is skipped without it."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus: apt-get install prometheus (19 MB to fetch)")
    return found


class Prometheus:
    """Prometheus on a free port, with our configuration.

    It differs from the real one in what a test needs: addresses instead of names, and no patience. Rules are asked
    each second and wait a second; their expressions are those of the file.

    Args:
        folder: for its configuration and data.
        replicas: their addresses, `host:port`.
        gateway: where its exporter is, `host:port`.
    """

    def __init__(self, folder: Path, replicas: list[str], gateway: str) -> None:
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
        for job, addresses in zip(config["scrape_configs"], (replicas, [gateway], []), strict=True):
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": addresses}]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")
        rules = re.sub(r"\bfor: \w+", "for: 1s", ALERTS.read_text(encoding="utf-8"))
        (folder / ALERTS.name).write_text(rules, encoding="utf-8")
        self._data = folder / "data"
        self._program = prometheus_program()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._arguments = [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._program,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._data}",
                *self._arguments,
            ],
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "Prometheus answers")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Ask its API; an expression that it does not take fails the test."""
        answer = httpx2.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def values(self, expr: str) -> list[float]:
        """The current values of an expression, one for each series, without NaN."""
        found = [float(series["value"][1]) for series in self.ask("query", query=expr)["result"]]
        return [value for value in found if not math.isnan(value)]

    def firing(self) -> set[tuple[str, str]]:
        """Name and replica of every alert that fires."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("instance", ""))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@dataclass(frozen=True, slots=True)
class Watched:
    """What runs."""

    redis: RedisServer
    replicas: list[ForkedService]
    prometheus: Prometheus

    def targets(self) -> list[str]:
        """Addresses of the replicas."""
        return [address(replica) for replica in self.replicas]


def address(replica: ForkedService) -> str:
    """As Prometheus names it: `host:port`."""
    return replica.url.removeprefix("http://")


@contextmanager
def watched(bundle: Path, folder: Path, variables: Mapping[str, str], works: Mapping[str, Work]) -> Iterator[Watched]:
    """Run two replicas of a bundle behind the gateway, which asks whether they are ready, and people who use them.

    Args:
        bundle: which is served.
        folder: for state, logs and what Prometheus keeps.
        variables: of the replicas, besides Redis.
        works: what people do.
    """
    prometheus_program()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        forks = stack.enter_context(ServiceForks(folder))
        ours = {
            "LLMEMB_REDIS_URL": redis.url,
            "LLMEMB_STATE_DIR": str(folder / "state"),
            "LLMEMB_READINESS_CACHE_SECONDS": "1",
        }
        replicas = [forks.start(bundle, ours | variables) for _ in range(2)]
        addresses = [address(replica) for replica in replicas]
        gateway = stack.enter_context(Gateway(folder, addresses))
        stack.enter_context(Load(gateway.url, works, pause_seconds=0.05))
        prometheus = stack.enter_context(Prometheus(folder, addresses, gateway.metrics))
        yield Watched(redis, replicas, prometheus)


def people(item_ids: list[str], titles: str) -> dict[str, Work]:
    """What people do with a shop: get recommendations, click, look for an item, and the shop adds items.

    Args:
        item_ids: of the bundle, the most popular ones first.
        titles: the attribute that new items have.
    """
    stamp = f"{time.time_ns():x}"

    def history(turn: int) -> list[str]:
        return [item_ids[turn * step % len(item_ids)] for step in (3, 7, 11)]

    def new_item(turn: int) -> ItemBody:
        return ItemBody(id=f"new {turn % 50}", attributes={titles: f"New {stamp} {turn % 400}"})

    return {
        "recommend": lambda client, turn: client.recommend(history(turn), k=10),
        "newcomer": lambda client, turn: client.recommend([], k=10),
        "look": lambda client, turn: client.similar_items(history(turn)[0], k=5),
        "click": lambda client, turn: client.add_events(f"session-{turn % 30}", history(turn)),
        "return": lambda client, turn: client.recommend(session_id=f"session-{turn % 30}", k=10),
        "lost": lambda client, turn: client.get_session(f"lost-{turn}"),
        "shop": lambda client, turn: client.embed_items([new_item(turn)], index=turn % 2 == 0),
    }
