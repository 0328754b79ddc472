"""The call behind each action, as the page shows it: run as it stands, it does the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.visit import Visit, visiting
from tests.support.packages import SOURCES

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.browser


def by_curl(code: str) -> bytes:
    """What a shell prints of it."""
    return subprocess.run(["bash", "-c", code], check=True, capture_output=True, timeout=60).stdout


def by_python(code: str) -> str:
    """What Python prints of it."""
    environment = os.environ | {"PYTHONPATH": SOURCES}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    return done.stdout


def check_last_call(visit: Visit, *expected: str) -> None:
    """Both programs of the last call hold what is expected, and what they print does."""
    curl, python = visit.code("curl"), visit.code("Python")
    printed = by_curl(curl).decode()
    assert all(each in curl for each in expected), curl
    assert "from llmemb.client import Client" in python
    output = by_python(python)
    if printed:
        first = re.findall(r'"id": ?"([^"]+)"', printed)[:1]
        assert all(repr(each) in output or each in output for each in first)


def choose(visit: Visit, words: str) -> None:
    """Choose one of the last actions."""
    options = visit.page.locator("#calls option").all_inner_texts()
    place = next(place for place, text in enumerate(options) if words in text)
    visit.page.get_by_label("Recent requests").select_option(index=place)


def test_calls_do_what_the_page_did(browser: Browser, url: str) -> None:
    """Each kind of action, by curl and by Python."""
    with visiting(browser, url) as visit:
        visit.open()
        visit.next_ids()
        visit.page.locator("#next .item").first.click()
        expect(visit.page.locator("#next .reasons").first).to_be_visible()
        check_last_call(visit, "/recommend", '"explain":true')
        visit.page.get_by_label("Search").fill("the")
        visit.page.get_by_role("heading", name="Search results").wait_for()
        check_last_call(visit, "/items?query=the&limit=12")
        visit.go("map")
        expect(visit.page.locator(".legend")).to_be_visible()
        check_last_call(visit, "/map")
        visit.go("compare")
        expect(visit.page.locator("#columns section").first).to_be_visible()
        check_last_call(visit, "/recommend/batch", '"strategy":"collaborative"')
        visit.go("invent")
        visit.page.get_by_role("button", name="Fill in an example").click()
        visit.page.get_by_role("button", name="Embed").click()
        expect(visit.page.locator("#told")).to_contain_text("the star marks it")
        check_last_call(visit, "/recommend", '"filters":{"deny":["invented')
        # What a shell and Python must both quote.
        visit.page.get_by_label(re.compile("title|name", re.IGNORECASE)).first.fill('It\'s "quoted" $HOME \\ é')
        visit.page.get_by_role("button", name="Add to the catalogue").click()
        expect(visit.page.locator("#told")).to_contain_text("is in the catalogue")
        for action in ("POST /embed_items", "PUT /items/", "GET /items/invented"):
            choose(visit, action)
            check_last_call(visit)
        choose(visit, "POST /recommend")
        check_last_call(visit, '"k":20')
        choose(visit, "PUT /items/")
        attributes = json.loads(by_curl(visit.code("curl")))["attributes"]
        assert 'It\'s "quoted" $HOME \\ é' in attributes.values()
        visit.page.get_by_role("button", name="Delete").click()
        expect(visit.page.locator("#told")).to_have_text("Deleted.")
        choose(visit, "DELETE /items/")
        assert "curl -s -X DELETE" in visit.code("curl")
        assert "client.delete_item(" in visit.code("Python")


def test_code_is_copied(browser: Browser, url: str) -> None:
    """As it stands there."""
    with visiting(browser, url, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.open()
        visit.next_ids()
        code = visit.code("Python")
        visit.page.get_by_role("button", name="Copy").click()
        expect(visit.page.get_by_role("button", name="Copied")).to_be_visible()
        assert visit.page.evaluate("navigator.clipboard.readText()") == code
