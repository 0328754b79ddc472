"""How quick the page is: figures are printed, since they say as much of the machine; that it works must hold."""

import json
import random
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.visit import visiting
from tests.support.service import make_settings, serving

POINTS = 100_000
FRAMES = 60
DRAG = """
async () => {
  const over = document.querySelector(".plot .over");
  const send = (kind, x, y) =>
    over.dispatchEvent(new PointerEvent(kind, { pointerId: 1, clientX: x, clientY: y, bubbles: true }));
  over.setPointerCapture = () => {};
  const box = over.getBoundingClientRect();
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  send("pointerdown", box.left + 100, box.top + 100);
  for (let frame = 0; frame < FRAMES; frame += 1) {
    send("pointermove", box.left + 100 + 4 * frame, box.top + 100 + frame);
    const at = { clientX: box.left + 300, clientY: box.top + 200 };
    over.dispatchEvent(new WheelEvent("wheel", { deltaY: frame % 2 ? 40 : -60, ...at }));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  send("pointercancel", 0, 0);
  return times;
}
""".replace("FRAMES", str(FRAMES))

pytestmark = pytest.mark.browser


def made_up_map(count: int) -> str:
    """An answer of `GET /map` with clusters of made-up items."""
    chance = random.Random(4)
    centres = [(chance.uniform(-1, 1), chance.uniform(-1, 1)) for _ in range(12)]
    category = [chance.randrange(12) for _ in range(count)]
    return json.dumps(
        {
            "bundle_id": "made-up",
            "total": count,
            "categories": [f"category {number}" for number in range(12)],
            "ids": [f"made-up-{number}" for number in range(count)],
            "x": [round(chance.gauss(centres[each][0], 0.12), 4) for each in category],
            "y": [round(chance.gauss(centres[each][1], 0.12), 4) for each in category],
            "popularity": [int(chance.paretovariate(1)) for _ in range(count)],
            "category": category,
        }
    )


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print through pytest."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


def test_map_of_many_points_moves(
    browser: Browser, full_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """100,000 points are dragged and zoomed for sixty frames, and coloured anew."""
    body = made_up_map(POINTS)

    def answer(route: Route) -> None:
        route.fulfill(body=body, content_type="application/json")

    with serving(make_settings(full_bundle, tmp_path / "state")) as (_, url), visiting(browser, url) as visit:
        visit.page.route("**/map", answer)
        visit.open("map")
        expect(visit.page.locator(".plot")).to_have_attribute("data-points", str(POINTS))
        times = sorted(visit.page.evaluate(DRAG))
        visit.page.get_by_label("Colour by").select_option("popularity")
        expect(visit.page.locator(".legend")).to_contain_text("most clicks")

    assert len(times) == FRAMES
    show(
        capsys,
        f"{POINTS:,} points, {FRAMES} frames dragged and zoomed: p50 {times[FRAMES // 2]:.1f} ms, "
        f"p95 {times[int(0.95 * FRAMES)]:.1f} ms",
    )


def test_first_paint(browser: Browser, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With an empty cache; no request goes to another host, as on every page of these tests."""
    with visiting(browser, url) as visit:
        visit.open()
        visit.next_ids()
        paints = visit.page.evaluate(
            "performance.getEntriesByType('paint').map((paint) => [paint.name, paint.startTime])"
        )
        loaded = visit.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        size = visit.page.evaluate(
            "performance.getEntriesByType('resource').reduce((sum, each) => sum + each.transferSize, 0)"
        )

    assert dict(paints)["first-contentful-paint"] > 0
    told = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in paints)
    show(capsys, f"{told}, loaded {loaded:.0f} ms, {size / 1024:.0f} KiB, {len(visit.requested)} requests")
