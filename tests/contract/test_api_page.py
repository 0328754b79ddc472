"""docs/api.md has every route; tests/docs/test_pages.py runs what it sends."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_page_has_every_route_and_no_other() -> None:
    """A heading for each."""
    description = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    routes = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}

    assert set(re.findall(r"^## ([A-Z]+ /\S*)$", PAGE, flags=re.MULTILINE)) == routes
