"""Tests of the playground in a real Chromium, run by `make test-browser`.

In a run of their own: Playwright keeps an event loop in the thread of the tests, where no other test could have one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import find_chromium, launch
from tests.browser.visit import DEADLINE_MILLISECONDS
from tests.support.service import ServeProcess, make_settings, serving
from tests.support.tiny import write_tiny_bundle

SWITCH = "BROWSER_TESTS"
BUNDLE = Path(os.environ.get("BROWSER_BUNDLE", "runs/demo/bundle"))
"""Served where it is there, else a tiny one."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "browser: takes its time in Chromium; run by `make test-browser`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip slow tests unless they are requested."""
    if os.environ.get(SWITCH) != "1":
        for item in items:
            if item.get_closest_marker("browser") is not None:
                item.add_marker(pytest.mark.skip(reason="takes its time: make test-browser"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        program = find_chromium(playwright.chromium)
        if program is None:
            if os.environ.get(SWITCH) == "1":
                pytest.fail("there is no Chromium: install one, or run `playwright install chromium`")
            pytest.skip("there is no Chromium")
        expect.set_options(timeout=DEADLINE_MILLISECONDS)
        started = launch(playwright.chromium, program)
        yield started
        started.close()


@contextmanager
def served_bundle(full_bundle: Path, state: Path, **overrides: object) -> Iterator[str]:
    """Serve the real bundle where there is one, by a process, else the tiny one from here; yields the URL."""
    if BUNDLE.is_dir():
        variables = {f"LLMEMB_{name.upper()}": str(value) for name, value in overrides.items()}
        with ServeProcess(BUNDLE, state, **variables) as process:
            yield process.url
    else:
        with serving(make_settings(full_bundle, state, **overrides)) as (_, url):
            yield url


@pytest.fixture(scope="module")
def url(full_bundle: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that needs no key, with another bundle beside its own to be loaded."""
    folder = tmp_path_factory.mktemp("browser")
    bundles = folder / "bundles"
    bundles.mkdir()
    write_tiny_bundle(bundles / "other", tiny_llm, scoring="cosine", gamma=1.0, seed=7)
    with served_bundle(full_bundle, folder / "state", bundles_dir=bundles) as url:
        yield url
