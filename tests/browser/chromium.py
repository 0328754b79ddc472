"""The Chromium that draws the playground: the machine's own, else Playwright's."""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, BrowserType

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")
"""For a machine without a graphics card, and for containers."""


def find_chromium(kind: BrowserType) -> str | None:
    """Return its program, None where there is none."""
    there = next((found for name in NAMES if (found := shutil.which(name))), None)
    own = kind.executable_path
    return there or (own if Path(own).is_file() else None)


def launch(kind: BrowserType, program: str) -> Browser:
    """Start it."""
    return kind.launch(executable_path=program, args=OPTIONS)
