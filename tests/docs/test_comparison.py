"""docs/comparison.md is made of the results, and no figure is typed in."""

import json
from pathlib import Path

import pytest

from benchmarks.comparison_page import EXPERIMENTS, TABLES, comparison_page, table_under
from benchmarks.results import RESULTS, read_all

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"


def test_page_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert PAGE.read_text(encoding="utf-8") == comparison_page()


def test_page_has_every_comparison() -> None:
    """Each row of each file of results that names a peer's figure, met or not."""
    page = PAGE.read_text(encoding="utf-8")
    contents = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    rows = [row for content in contents for row in content.get("rows", [])]

    assert len(rows) > 5
    assert all(f"| {row['name']} |" in page for row in rows)
    # Twice: in its own table, and in that of all aims.
    assert page.count("| no |") == 2 * sum(row["met"] is False for row in rows)
    assert {results.name for results in read_all()} == {content["name"] for content in contents if "rows" in content}


def test_tables_are_those_of_the_experiments() -> None:
    """A heading that is not there, or has no table, ends the command."""
    experiments = EXPERIMENTS.read_text(encoding="utf-8")

    assert all(table_under(heading, experiments) in comparison_page() for heading in TABLES.values())
    with pytest.raises(ValueError, match="no table under 'Nothing'"):
        table_under("Nothing", experiments)
