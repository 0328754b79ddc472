"""Lighthouse on the playground, where its program is found: `npm install --global lighthouse`."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import OPTIONS, find_chromium
from tests.browser.test_speed import show

LIGHTHOUSE = shutil.which("lighthouse")
CATEGORIES = ("accessibility", "best-practices", "seo", "performance")
LEAST = 0.95
"""Of the categories whose marks do not say how busy the machine is."""
MOST_SHIFT = 0.1
"""How much of the page may move while it loads; up to here Lighthouse calls it good."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(LIGHTHOUSE is None, reason="there is no Lighthouse: npm install --global lighthouse"),
]


def audit(url: str, form: str, chromium: str, file: Path) -> dict[str, Any]:
    """Run it, and return its report."""
    options = {
        "output": "json",
        "output-path": file,
        "only-categories": ",".join(CATEGORIES),
        "chrome-flags": " ".join(("--headless=new", *OPTIONS)),
    }
    command = [str(LIGHTHOUSE), url, "--quiet", *(f"--{name}={value}" for name, value in options.items())]
    if form == "desktop":
        command.append("--preset=desktop")
    subprocess.run(command, check=True, env=os.environ | {"CHROME_PATH": chromium}, timeout=300)
    report: dict[str, Any] = json.loads(file.read_bytes())
    return report


@pytest.mark.parametrize("form", ["phone", "desktop"])
def test_lighthouse_finds_nothing(
    browser: Browser, url: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing moves while the page loads, and nothing comes of another host; marks and times are printed."""
    chromium = find_chromium(browser.browser_type)
    assert chromium is not None
    report = audit(url, form, chromium, tmp_path / "report.json")
    marks = {name: report["categories"][name]["score"] for name in CATEGORIES}
    requests = report["audits"]["network-requests"]["details"]["items"]

    told = ", ".join(f"{name} {100 * mark:.0f}" for name, mark in marks.items())
    paint = report["audits"]["metrics"]["details"]["items"][0]["observedFirstContentfulPaint"]
    show(capsys, f"Lighthouse, {form}: {told}, first paint {paint:.0f} ms")
    assert {name: mark for name, mark in marks.items() if name != "performance" and mark < LEAST} == {}
    assert report["audits"]["cumulative-layout-shift"]["numericValue"] <= MOST_SHIFT
    assert {urlsplit(each["url"]).netloc for each in requests} == {urlsplit(url).netloc}
