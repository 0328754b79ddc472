"""Each view and each action of the playground, on a real bundle where there is one."""

import itertools
import re
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.visit import DEADLINE_MILLISECONDS, Visit, strategies_of, visiting

pytestmark = pytest.mark.browser


def popular(url: str, k: int) -> list[dict[str, object]]:
    """The first items that the page shows to somebody new."""
    answer = httpx2.post(f"{url}/recommend", json={"history": [], "k": k}, timeout=60)
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def click_two(visit: Visit) -> list[str]:
    """Click the two most popular items of the catalogue, and return their ids."""
    visit.open()
    ids = []
    for place in (0, 1):
        item = visit.page.locator("#found .item").nth(place)
        ids.append(item.get_attribute("data-id") or "")
        item.click()
        expect(visit.page.locator(".clicks li")).to_have_count(place + 1)
    visit.next_ids()
    return ids


def test_next_items_change_with_every_click(browser: Browser, url: str) -> None:
    """Each as the API has it, with attributes, score and the clicks that drew it."""
    with visiting(browser, url) as visit:
        visit.open()
        seen = [visit.next_ids()]
        clicked: list[str] = []
        for _ in range(3):
            item = visit.page.locator("#next .item").first
            clicked.append(item.get_attribute("data-id") or "")
            item.click()
            expect(visit.page.locator(f'#next .item[data-id="{clicked[-1]}"]')).to_have_count(0)
            seen.append(visit.next_ids())
        body = {"history": clicked, "k": 10, "explain": True}
        answer = httpx2.post(f"{url}/recommend", json=body, timeout=60).json()["items"]

        assert len({tuple(each) for each in seen}) == 4
        assert seen[-1] == [item["id"] for item in answer]
        expect(visit.page.locator("#next .side").first).to_contain_text(f"{answer[0]['score']:.2f}")
        strongest = max(answer[0]["reasons"], key=lambda reason: float(reason["contribution"]))
        reasons = visit.page.locator("#next .item").first.locator(".reasons b").first
        expect(reasons).to_have_text(re.compile(rf"^{strongest['position'] + 1} "))


def test_clicks_are_taken_back(browser: Browser, url: str) -> None:
    """One of them, then all."""
    with visiting(browser, url) as visit:
        ids = click_two(visit)
        visit.page.get_by_role("button", name=re.compile("^Remove .* from the session$")).first.click()
        expect(visit.page.locator(".clicks li .number")).to_have_count(1)
        left = httpx2.post(f"{url}/recommend", json={"history": ids[1:], "k": 10}, timeout=60).json()["items"]
        assert visit.next_ids() == [item["id"] for item in left]
        visit.page.get_by_role("button", name="Clear").click()
        expect(visit.page.get_by_text("Popular items")).to_be_visible()


def test_search_pages_through_what_it_finds(browser: Browser, url: str) -> None:
    """More results come on request, and an empty result is reported as empty."""
    with visiting(browser, url) as visit:
        visit.open()
        visit.page.get_by_label("Search").fill("the")
        visit.page.get_by_role("button", name="Load more").click()
        expect(visit.page.locator("#found .item").nth(12)).to_be_visible()
        visit.page.get_by_label("Search").fill("xqzzy")
        expect(visit.page.get_by_text("No items match the query.")).to_be_visible()


def test_whole_page_works_by_the_keyboard(browser: Browser, url: str) -> None:
    """To the search, into the session, along the views and over the map."""
    with visiting(browser, url) as visit:
        visit.open()
        visit.next_ids()
        keyboard = visit.page.keyboard
        keyboard.press("Tab")
        expect(visit.page.get_by_text("Skip to the content")).to_be_focused()
        keyboard.press("Enter")
        keyboard.press("Tab")
        expect(visit.page.get_by_role("link", name="add a new item")).to_be_focused()
        keyboard.press("Tab")
        expect(visit.page.get_by_label("Search")).to_be_focused()
        keyboard.press("Tab")
        keyboard.press("Enter")
        expect(visit.page.locator(".clicks li .number")).to_have_count(1)
        following = visit.page.locator("#next .item").nth(2)
        following.focus()
        keyboard.press("Enter")
        expect(visit.page.locator(".clicks li .number")).to_have_count(2)
        visit.next_ids()
        expect(following).to_be_focused()
        visit.page.get_by_role("link", name="Map", exact=True).focus()
        keyboard.press("Enter")
        expect(visit.page.get_by_role("heading", level=1)).to_be_focused()
        over = visit.page.locator(".plot .over")
        over.focus()
        expect(over).to_have_attribute("aria-label", re.compile("Highlighted: session: .+; recommendations: "))
        for key in ("+", "ArrowLeft", "ArrowUp", "-", "Home"):
            keyboard.press(key)


def test_an_invented_item_goes_all_the_way(browser: Browser, url: str) -> None:
    """On the map among its neighbours, in the catalogue, recommended, and away again."""
    with visiting(browser, url) as visit:
        click_two(visit)
        visit.go("invent")
        page, told = visit.page, visit.page.locator("#told")
        page.get_by_role("button", name="Fill in an example").click()
        page.get_by_label("title").press("Enter")
        expect(told).to_contain_text("the star marks it among")
        expect(page.locator(".plot")).to_have_attribute("data-star", re.compile(r"^-?\d\.\d+ -?\d\.\d+$"))
        expect(page.get_by_role("list", name="Nearest items").locator(".item")).to_have_count(6)
        page.get_by_role("button", name="Add to the catalogue").click()
        expect(told).to_contain_text("is in the catalogue, at rank")
        invented = page.locator(".item.invented").get_attribute("data-id") or ""
        item = httpx2.get(f"{url}/items/{quote(invented, safe='')}").json()
        assert item["source"] == "added"
        session = page.get_by_role("list", name="Most similar items of the catalogue").locator(".item")
        body = {"history": visit.ids(session), "k": 20}
        recommended = httpx2.post(f"{url}/recommend", json=body, timeout=60).json()["items"]
        assert invented in [each["id"] for each in recommended]
        page.get_by_role("button", name="Delete").click()
        expect(told).to_have_text("Deleted.")
        assert httpx2.get(f"{url}/items/{invented}").status_code == 404


def test_a_faulty_item_is_explained(browser: Browser, url: str) -> None:
    """By the service's own words, and the page goes on."""
    with visiting(browser, url) as visit:
        visit.open("invent")
        visit.page.get_by_role("button", name="Embed").click()
        expect(visit.page.locator("#told.error")).to_contain_text("attributes")
        visit.expected.append("status of 422")


def test_map_shows_session_and_next_items(browser: Browser, url: str) -> None:
    """Of all items, coloured by category or popularity; a click on a point is a click."""
    with visiting(browser, url) as visit:
        clicked = click_two(visit)
        coming = visit.next_ids()
        visit.go("map")
        page, plot = visit.page, visit.page.locator(".plot")
        total = httpx2.get(f"{url}/map?limit=1").json()["total"]
        expect(plot).to_have_attribute("data-points", str(total))
        expect(plot).to_have_attribute("data-path", " ".join(clicked))
        expect(plot).to_have_attribute("data-next", " ".join(coming))
        categories = page.locator(".legend").inner_text()
        page.get_by_label("Colour by").select_option("popularity")
        expect(page.locator(".legend")).to_contain_text("no clicks in training")
        assert "no clicks in training" not in categories
        page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Reset the view").click()
        # The first recommended item is under its ring, wherever that is.
        find_and_click_a_point(visit)
        expect(page.get_by_role("list", name="The session on the map").locator(".item")).to_have_count(3)


def find_and_click_a_point(visit: Visit) -> None:
    """Move over the map until an item's name shows, and click there."""
    over, tip = visit.page.locator(".plot .over"), visit.page.locator(".plot .tip")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    for row, column in itertools.product((0.5, 0.4, 0.6, 0.3, 0.7), range(20, 80)):
        at = (box["x"] + box["width"] * column / 100, box["y"] + box["height"] * row)
        visit.page.mouse.move(*at)
        visit.page.wait_for_timeout(100)  # the name is fetched from the service; most places have none
        if tip.is_visible():
            visit.page.mouse.click(*at)
            return
    raise AssertionError("no point under the pointer")


def test_parts_of_the_score_side_by_side(browser: Browser, url: str) -> None:
    """As the API answers each, and items that several have are marked."""
    with visiting(browser, url) as visit:
        clicked = click_two(visit)
        visit.go("compare")
        columns = visit.page.locator("#columns section")
        strategies = strategies_of(url)
        expect(columns).to_have_count(len(strategies))
        for place, strategy in enumerate(strategies):
            body = {"history": clicked, "k": 10, "strategy": strategy}
            answer = httpx2.post(f"{url}/recommend", json=body, timeout=60).json()["items"]
            assert visit.ids(columns.nth(place).locator(".item")) == [item["id"] for item in answer], strategy
        expect(visit.page.locator("#columns .item.shared").first).to_be_visible()


def test_two_bundles_side_by_side(browser: Browser, url: str) -> None:
    """One alone is said to be alone; an experiment stands beside it."""
    with visiting(browser, url) as visit:
        visit.open("compare")
        visit.page.get_by_label("Compare").select_option("bundles")
        expect(visit.page.get_by_text("Only one bundle is loaded.")).to_be_visible()
        body = {"bundle": "other", "share": 0.5}
        assert httpx2.put(f"{url}/admin/experiment", json=body, timeout=300).status_code == 200
        try:
            visit.page.get_by_label("Compare").select_option("strategies")
            visit.page.get_by_label("Compare").select_option("bundles")
            columns = visit.page.locator("#columns section")
            expect(columns).to_have_count(2)
            expect(columns.nth(0).get_by_role("heading")).to_have_text("current")
            expect(columns.nth(1)).to_contain_text("experiment")
            assert visit.ids(columns.nth(0).locator(".item")) != visit.ids(columns.nth(1).locator(".item"))
        finally:
            httpx2.delete(f"{url}/admin/experiment")


def test_figures_follow_what_happens(browser: Browser, url: str) -> None:
    """Requests, latency, cache, queue, and the share of each kind of items."""
    with visiting(browser, url) as visit:
        click_two(visit)
        visit.go("figures")
        page = visit.page
        tile = page.locator(".tile")
        expect(tile).to_have_count(8)
        expect(tile.filter(has_text="/recommend latency, p50").locator(".number")).to_contain_text("ms")
        expect(tile.filter(has_text="Requests/s").locator(".number")).to_have_text(re.compile(r"^\d"))
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="/recommend", exact=True))
        before = row.get_by_role("cell").first.inner_text()
        popular(url, 3)
        expect(row.get_by_role("cell").first).not_to_have_text(before, timeout=DEADLINE_MILLISECONDS)
        for kind in ("head", "tail", "cold", "added", "popular"):
            expect(page.get_by_role("rowheader", name=kind, exact=True)).to_be_visible()


def test_coverage_and_error_rate_of_the_metrics_view(browser: Browser, url: str) -> None:
    """Coverage is the current bundle's beside an experiment; rejected requests raise the error rate above zero."""
    body = {"bundle": "other", "share": 0.5}
    assert httpx2.put(f"{url}/admin/experiment", json=body, timeout=300).status_code == 200
    try:
        roles = {
            each["role"]: each["bundle_id"] for each in httpx2.get(f"{url}/admin/bundles", timeout=60).json()["loaded"]
        }
        for bundle in roles.values():
            body = {"history": [], "k": 10, "bundle_id": bundle}
            assert httpx2.post(f"{url}/recommend", json=body, timeout=60).status_code == 200
        with visiting(browser, url) as visit:
            visit.open("figures")
            metrics = httpx2.get(f"{url}/metrics", timeout=60).text
            coverage = dict(re.findall(r'^llmemb_coverage\{bundle="([^"]+)"\} (\S+)$', metrics, re.MULTILINE))
            assert float(coverage[roles["experiment"]]) > 0
            tile = visit.page.locator(".tile")
            shown = tile.filter(has_text="Catalogue coverage").locator(".number")
            expect(shown).to_have_text(f"{100 * float(coverage[roles['current']]):.1f} %")
            for _ in range(20):
                assert httpx2.get(f"{url}/items/nowhere", timeout=60).status_code == 404
            errors = tile.filter(has_text="Error rate").locator(".number")
            expect(errors).to_have_text(re.compile(r"^(?!0\.0)\d+\.\d %$"))
    finally:
        httpx2.delete(f"{url}/admin/experiment", timeout=60)
