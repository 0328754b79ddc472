"""The playground comes up in a real browser, and every view does its work. The other modules look closer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.visit import VIEWS, strategies_of, visiting
from tests.support.service import make_settings, serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tiny_url(full_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(make_settings(full_bundle, tmp_path_factory.mktemp("smoke") / "state")) as (_, url):
        yield url


def test_every_view_comes_up(browser: Browser, tiny_url: str) -> None:
    """After a click, with no error and no request to another host."""
    with visiting(browser, tiny_url) as visit:
        visit.open()
        popular = visit.next_ids()
        visit.find("Red Canyon").click()
        expect(visit.page.locator("#next .reasons").first).to_contain_text("1 Red Canyon")
        assert len(popular) == len(visit.next_ids()) == 10
        for view, name in VIEWS.items():
            visit.go(view)
            expect(visit.page.locator("nav a[aria-current]")).to_have_text(name)
        expect(visit.page.locator(".tile").first).to_be_visible()
        visit.go("map")
        expect(visit.page.locator(".plot")).to_have_attribute("data-points", "40")
        visit.go("compare")
        expect(visit.page.locator("#columns section")).to_have_count(len(strategies_of(tiny_url)))


def test_an_invented_item_is_recommended_and_removed(browser: Browser, tiny_url: str) -> None:
    """From its attributes to a recommendation, and away again."""
    with visiting(browser, tiny_url) as visit:
        visit.open("invent")
        for label, value in {"title": "Harbour of Glass", "release year": "1999", "genres": "Drama"}.items():
            visit.page.get_by_label(label).fill(value)
        visit.page.get_by_role("button", name="Add to the catalogue").click()
        expect(visit.page.locator("#told")).to_contain_text("Harbour of Glass is in the catalogue")
        visit.page.get_by_role("button", name="Delete").click()
        expect(visit.page.locator("#told")).to_have_text("Deleted.")


def test_trainers_report_is_linked(browser: Browser, full_bundle: Path, tmp_path: Path) -> None:
    """Where the settings name one; it keeps to its own policy."""
    report = tmp_path / "index.html"
    icon = '<link rel="icon" href="data:,">'
    report.write_text(f"<!doctype html><html lang='en'><title>Report</title>{icon}<h1>What came out</h1></html>")
    settings = make_settings(full_bundle, tmp_path / "state", report=report)
    with serving(settings) as (_, url), visiting(browser, url) as visit:
        visit.open()
        visit.page.get_by_role("link", name="Training report").click()
        expect(visit.page.get_by_role("heading", name="What came out")).to_be_visible()
