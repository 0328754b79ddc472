"""Every view, light and dark, on a phone and on a desktop: axe finds nothing serious, and nothing is off the screen.

With PLAYGROUND_PICTURES=1 each is drawn into `docs/images/playground/`.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.visit import SIZES, VIEWS, Theme, Visit, strategies_of, visiting
from tests.support.service import make_settings, serving

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "playground"
SERIOUS = {"serious", "critical"}

pytestmark = pytest.mark.browser


def prepare(visit: Visit, view: str) -> None:
    """Bring a view to where it has most to show, after two clicks."""
    page = visit.page
    visit.open()
    for place in (0, 1):
        page.locator("#next .item").first.click()
        expect(page.locator(".clicks li")).to_have_count(place + 1)
        visit.next_ids()
    visit.go(view)
    if view == "invent":
        page.get_by_role("button", name="Fill in an example").click()
        page.get_by_role("button", name="Embed").click()
        expect(page.get_by_role("list", name="Nearest items").locator(".item")).to_have_count(6)
    elif view == "map":
        expect(page.locator(".legend")).to_be_visible()
    elif view == "compare":
        expect(page.locator("#columns section")).to_have_count(len(strategies_of(visit.url)))
    elif view == "figures":
        expect(page.locator(".tile").first).to_be_visible()
        expect(page.locator(".tile .number").first).to_have_text(re.compile(r"^\d"))


def serious_findings(page: Page) -> list[str]:
    """What axe finds serious or critical, each with where it is."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{finding['id']}: {node['html'][:120]} {node['failureSummary']}"
        for finding in violations
        if finding["impact"] in SERIOUS
        for node in finding["nodes"]
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_view_is_accessible_and_fits(browser: Browser, url: str, view: str, theme: Theme, size: str) -> None:
    """Without a serious finding, and without scrolling sideways."""
    with visiting(browser, url, theme=theme, size=SIZES[size]) as visit:
        prepare(visit, view)
        found = serious_findings(visit.page)
        draw(visit.page, f"{view}-{theme}-{size}")

        assert found == []
        assert visit.fits()


def test_theme_is_as_one_chooses_it(browser: Browser, url: str) -> None:
    """Whatever the system's is."""
    with visiting(browser, url) as visit:
        visit.open()
        visit.page.get_by_role("button", name="Theme").click()
        visit.page.get_by_role("button", name="Theme: light").click()
        expect(visit.page.locator("html")).to_have_attribute("data-theme", "dark")


@contextmanager
def unreachable(browser: Browser, bundle: Path, state: Path) -> Iterator[Visit]:
    """A page whose service has gone."""
    with serving(make_settings(bundle, state)) as (_, url), visiting(browser, url, theme="dark") as visit:
        visit.open()
        visit.next_ids()
        visit.expected.append("ERR_FAILED")
        visit.page.route("**/readyz", lambda route: route.abort())
        expect(visit.state()).to_have_text("Unreachable")
        yield visit


def test_banner_is_accessible(browser: Browser, full_bundle: Path, tmp_path: Path) -> None:
    """It says what happens, and a screen reader announces it."""
    with unreachable(browser, full_bundle, tmp_path / "state") as visit:
        expect(visit.page.get_by_role("status").filter(has_text="cannot be reached")).to_be_visible()
        assert serious_findings(visit.page) == []


def draw(page: Page, name: str) -> None:
    """Draw what is on the screen, where the pictures of the documentation are wanted."""
    if os.environ.get("PLAYGROUND_PICTURES") == "1":
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURES / f"{name}.jpg", type="jpeg", quality=62)
