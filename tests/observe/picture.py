"""The pictures of the docs: two replicas under load, watched by a real Prometheus, and Redis stopped.

    python -m tests.observe.picture --bundle runs/demo/bundle [--seconds 300] [--folder docs/images]

`dashboard.png` has the panels of Grafana's dashboard, drawn by `dashboard.html` from Prometheus' answers, since no
Grafana is at hand where the tests run; `alerts.png` is Prometheus' own page. Needs `prometheus` and `chromium`.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from llmemb.bundle import read_bundle
from tests.observe.live import people, watched
from tests.observe.watched import dashboard
from tests.support.waiting import wait_until

PAGE = Path(__file__).with_name("dashboard.html")
LINE_PIXELS = 30
WIDTH_PIXELS = 1600
PEOPLE = 3
"""Of each kind."""


def main() -> None:
    """Run the system, and take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    by_popularity = bundle.items.popularity.argsort()[::-1]
    item_ids = [bundle.items.ids[row] for row in by_popularity]
    each = people(item_ids, bundle.manifest.prompt.attribute_names[0])
    works = {f"{name} {number}": work for name, work in each.items() for number in range(PEOPLE)}
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "LLMEMB_FOLD_ITEMS": "20",
            "LLMEMB_ENCODER_THREADS": "1",
            "LLMEMB_REDIS_TIMEOUT_SECONDS": "1",
        }
        with watched(options.bundle, Path(folder), variables, works) as system:
            time.sleep(options.seconds)  # nothing to wait for: the picture shows this long
            page = Path(folder) / "page.html"
            height = write_page(page, system.prometheus.url, options.seconds)
            shoot(page.as_uri(), options.folder / "dashboard.png", height)
            system.redis.stop()
            wait_until(lambda: "StorageAway" in {name for name, _ in system.prometheus.firing()}, "the alert fires")
            shoot(f"{system.prometheus.url}/classic/alerts", options.folder / "alerts.png", 1200)


def write_page(page: Path, prometheus: str, seconds: int) -> int:
    """Write the page that draws the dashboard, and return its height in pixels."""
    content = dashboard()
    tall = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in content["panels"])
    given = {
        "dashboard": content,
        "prometheus": prometheus,
        "seconds": seconds,
        "step": max(1, seconds // 150),
        "rateInterval": "15s",
        "tall": tall,
    }
    text = PAGE.read_text(encoding="utf-8").replace("/*INPUT*/null", json.dumps(given).replace("<", "\\u003c"))
    page.write_text(text, encoding="utf-8")
    return int(tall * LINE_PIXELS + 30)


def shoot(address: str, file: Path, height: int) -> None:
    """Let Chromium draw a page into a file."""
    options: Sequence[str] = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=60000",
        f"--window-size={WIDTH_PIXELS},{height}",
        f"--screenshot={file.resolve()}",
    )
    subprocess.run(["chromium", *options, address], check=True, capture_output=True, timeout=180)


if __name__ == "__main__":
    main()
