"""A page of the playground as somebody sees it, and what the tests ask of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

VIEWS = {
    "session": "Session",
    "invent": "New item",
    "map": "Map",
    "compare": "Compare",
    "figures": "Metrics",
}
Theme = Literal["light", "dark"]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
DEADLINE_MILLISECONDS = 60_000
"""For a machine with other work; nothing is waited for longer than it takes."""


@dataclass
class Visit:
    """A page and all that went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    """Console errors and uncaught errors."""
    expected: list[str] = field(default_factory=list)
    """Parts of errors that a test brings about: Chromium notes every answer and connection that is not fine."""
    requested: list[str] = field(default_factory=list)
    """Every address that the page asked."""

    def open(self, view: str = "session") -> None:
        """Load the page at a view, and wait until it has its first answer."""
        self.page.goto(f"{self.url}/#/{view}")
        self.page.get_by_role("heading", level=1).wait_for()

    def go(self, view: str) -> None:
        """Go to a view as a visitor does."""
        self.page.get_by_role("navigation").get_by_role("link", name=VIEWS[view], exact=True).click()

    def find(self, words: str) -> Locator:
        """Search the catalogue, and return the first result once it appears."""
        self.page.get_by_label("Search").fill(words)
        self.page.get_by_role("heading", name="Search results").wait_for()
        found = self.page.locator("#found .item", has_text=words).first
        found.wait_for()
        return found

    def next_ids(self) -> list[str]:
        """The ids of the items that come next, when they are there."""
        expect(self.page.locator("#next")).to_have_attribute("aria-busy", "false")
        return self.ids(self.page.locator("#next .item"))

    @staticmethod
    def ids(items: Locator) -> list[str]:
        """The ids of items in their order."""
        return [each.get_attribute("data-id") or "" for each in items.all()]

    def state(self) -> Locator:
        """What says how the service is."""
        return self.page.locator("#connection")

    def code(self, language: str) -> str:
        """The last call as code."""
        self.page.locator("#calls").get_by_role("button", name=language).click()
        return self.page.locator("#calls pre").inner_text()

    def fits(self) -> bool:
        """Whether the page fits the screen's width."""
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        return wide


@contextmanager
def visiting(
    browser: Browser, url: str, *, theme: Theme = "light", size: Sequence[int] = SIZES["desktop"], **options: Any
) -> Iterator[Visit]:
    """Open a window of its own, and fail at its end for a console error or a request to another host."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce", **options
    )
    context.set_default_timeout(DEADLINE_MILLISECONDS)
    page = context.new_page()
    visit = Visit(page, url)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            visit.errors.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", note)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("request", lambda request: visit.requested.append(request.url))
    try:
        yield visit
    finally:
        context.close()
    assert [error for error in visit.errors if not any(each in error for each in visit.expected)] == []
    assert {urlsplit(each).netloc for each in visit.requested} == {urlsplit(url).netloc}


def strategies_of(url: str) -> list[str]:
    """The strategies that the service's bundle supports, in the order in which the compare view shows them."""
    term = httpx2.get(f"{url}/info", timeout=60).json()["semantic_term"]
    semantic = ["semantic", *(["successors"] if term["delta"] else [])] if term else []
    return ["all", "collaborative", *semantic, "popular"]
