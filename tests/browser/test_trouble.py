"""What a visitor sees of a service that asks for a key, is busy, or goes away: it is said, and passes by itself."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from llmemb_service.guard.keys import Role, key_line, make_key
from tests.browser.test_accessibility import serious_findings
from tests.browser.visit import Visit, visiting
from tests.support.ports import free_port
from tests.support.service import ServeProcess, make_settings, serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A file of keys, one for everything, and one that only recommends."""
    file = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    admin, kept = make_key("everything", (Role.ADMIN,), None)
    shopper, also_kept = make_key("shopper", (Role.RECOMMEND,), None)
    file.write_text("".join(f"{key_line(each)}\n" for each in (kept, also_kept)))
    return file, admin, shopper


@pytest.fixture(scope="module")
def guarded(full_bundle: Path, keys: tuple[Path, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = make_settings(full_bundle, tmp_path_factory.mktemp("guarded") / "state", api_keys_file=keys[0])
    with serving(settings) as (_, url):
        yield url


def expect_errors(visit: Visit, *statuses: int) -> None:
    """Leave out Chromium's own notes of answers and of connections that a test brings about."""
    visit.expected += [*(f"status of {status}" for status in statuses), "ERR_CONNECTION", "ERR_EMPTY_RESPONSE"]


def enter(visit: Visit, key: str) -> None:
    """Give a key in the dialog."""
    dialog = visit.page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key").fill(key)
    dialog.get_by_role("button", name="Use key").click()


def test_key_is_asked_for_and_kept_for_the_tab(browser: Browser, guarded: str, keys: tuple[Path, str, str]) -> None:
    """A wrong one is said to be wrong; the right one opens every view, and no call on the page shows it."""
    _, admin, _ = keys
    with visiting(browser, guarded) as visit:
        visit.open()
        expect(visit.page.get_by_role("dialog")).to_contain_text("The service requires an API key.")
        assert serious_findings(visit.page) == []
        enter(visit, "llmemb_wrong")
        expect(visit.page.get_by_role("dialog")).to_contain_text("The API key is not valid.")
        enter(visit, admin)
        expect(visit.state()).to_have_text("Ready")
        visit.page.locator("#next .item").first.click()
        expect(visit.page.locator("#next .reasons").first).to_be_visible()
        expect(visit.page.locator("#calls pre")).to_contain_text("$LLMEMB_API_KEY")
        expect(visit.page.get_by_role("button", name="API key")).to_be_visible()
        visit.page.reload()
        visit.next_ids()
        assert admin not in visit.page.content()
        assert visit.page.evaluate("Object.values(localStorage).join() + document.cookie") == ""
        expect_errors(visit, 401)


def test_key_without_the_role_is_told_so(browser: Browser, guarded: str, keys: tuple[Path, str, str]) -> None:
    """By the view that needs it; the others work."""
    with visiting(browser, guarded) as visit:
        visit.open()
        enter(visit, keys[2])
        visit.next_ids()
        visit.go("invent")
        visit.page.get_by_role("button", name="Fill in an example").click()
        visit.page.get_by_role("button", name="Embed").click()
        expect(visit.page.locator("#told.error")).to_contain_text("lacks the role 'embed'")
        visit.go("map")
        expect(visit.page.locator(".plot")).to_have_attribute("data-points", "40")
        expect_errors(visit, 401, 403)


def test_busy_service_is_waited_for(browser: Browser, full_bundle: Path, tmp_path: Path) -> None:
    """429 is shown as such, and the click is answered when there is room again."""
    settings = make_settings(full_bundle, tmp_path / "state", rate_limit_per_minute=120)
    with serving(settings) as (_, url), visiting(browser, url) as visit:
        visit.open()
        visit.next_ids()
        # As many quick requests as the limit lets through, from the same address.
        visit.page.evaluate("Promise.all([...Array(130)].map(() => fetch('/info')))")
        visit.page.locator("#next .item").first.click()
        expect(visit.state()).to_have_text("Busy")
        expect(visit.page.locator("#banner")).to_contain_text("The service is busy. Retrying in")
        expect(visit.page.locator("#next .reasons").first).to_be_visible()
        expect(visit.state()).to_have_text("Ready")
        expect(visit.page.locator("#banner")).to_be_hidden()
        expect_errors(visit, 429)


def test_part_that_fails_is_named_and_waited_for(browser: Browser, full_bundle: Path, tmp_path: Path) -> None:
    """503 of the encoder: its server is stopped and started again, and the item is embedded then."""
    port = free_port()
    with ServeProcess(full_bundle, tmp_path / "encoder", port=port) as encoder:
        settings = make_settings(
            full_bundle,
            tmp_path / "state",
            encoder_url=f"{encoder.url}/v1",
            readiness_cache_seconds=0,
            embed_timeout_seconds=5,
        )
        with serving(settings) as (_, url), visiting(browser, url) as visit:
            visit.open("invent")
            expect(visit.state()).to_have_text("Ready")
            encoder.end(signal.SIGTERM)
            expect(visit.state()).to_have_text("Degraded")
            visit.page.get_by_label("title").fill("Harbour of Glass")
            visit.page.get_by_role("button", name="Embed").click()
            expect(visit.state()).to_have_text("Not ready")
            with ServeProcess(full_bundle, tmp_path / "encoder", port=port):
                expect(visit.page.locator("#told")).to_contain_text("the star marks it")
                expect(visit.state()).to_have_text("Ready")
            expect_errors(visit, 503, 504)


def test_restart_is_seen_and_passes(browser: Browser, full_bundle: Path, tmp_path: Path) -> None:
    """Killed and started again at the same address; a click made meanwhile is answered then."""
    port = free_port()
    with ServeProcess(full_bundle, tmp_path / "state", port=port) as process, visiting(browser, process.url) as visit:
        visit.open()
        visit.next_ids()
        process.end(signal.SIGKILL)
        expect(visit.state()).to_have_text("Unreachable")
        visit.page.locator("#next .item").first.click()
        expect(visit.page.locator("#banner")).to_contain_text("cannot be reached")
        with ServeProcess(full_bundle, tmp_path / "state", port=port):
            expect(visit.state()).to_have_text("Ready")
            expect(visit.page.locator("#next .reasons").first).to_be_visible()
            expect(visit.page.locator("#banner")).to_be_hidden()
        expect_errors(visit, 503)  # while its encoder starts
