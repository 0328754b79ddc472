"""docs/errors.md is what the description says."""

import re
from pathlib import Path

from llmemb_service.errors_page import errors_page
from llmemb_service.problems import PROBLEMS

DOCS = Path(__file__).parents[2] / "docs"


def test_page_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == errors_page()


def test_page_has_every_code_and_leads_to_what_to_do() -> None:
    """Each code links to its heading in docs/api.md."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### `(\w+)` \((\d+)\)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE))

    assert {(code, str(kind.status)) for code, kind in PROBLEMS.items()} == headings
    assert set(re.findall(r"^\| \[`(\w+)`\]", page, re.MULTILINE)) == set(PROBLEMS)
    assert re.search(r"`overloaded`.*\| 429 \| .* \| yes \| .*`POST /recommend`", page)
    assert re.search(r"`not_found`.* \| any path \|", page)
