"""docs/endpoints.md and docs/errors.md are what the description says."""

import re
from pathlib import Path

import pytest

from service.problems import PROBLEMS
from service.reference_pages import Schema, description, endpoints_page, errors_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def described() -> Schema:
    """The app's own."""
    return description()


def test_pages_are_up_to_date(described: Schema) -> None:
    """`make docs` writes them."""
    assert (DOCS / "endpoints.md").read_text(encoding="utf-8") == endpoints_page(described)
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == errors_page(described)


def test_endpoints_have_every_route_with_its_role_and_bodies() -> None:
    """Each route is a heading, and each model that is linked to is one too."""
    page = (DOCS / "endpoints.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)

    assert "POST /recommend" in headings
    assert "Needs the role `recommend`." in page
    assert {name.lower() for _, name in re.findall(r"\[(\w+)\]\(#(\w+)\)", page)} <= {name.lower() for name in headings}
    assert "RecommendRequest" in headings


def test_errors_have_every_code_and_lead_to_what_to_do() -> None:
    """Each code links to its heading in docs/api.md."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### `(\w+)` \((\d+)\)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE))

    assert {(code, str(kind.status)) for code, kind in PROBLEMS.items()} == headings
    assert set(re.findall(r"^\| \[`(\w+)`\]", page, re.MULTILINE)) == set(PROBLEMS)
    assert re.search(r"`overloaded`.*\| 429 \| .* \| yes \| .*`POST /recommend`", page)
    assert re.search(r"`not_found`.* \| any path \|", page)
