"""The pages about alerts and security name what there is: alerts have headings, tests that are named exist."""

import re
from pathlib import Path

import pytest

from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings, variable
from tests.observe.watched import REPOSITORY, alerts, dashboard

DOCS = REPOSITORY / "docs"
PAGES = ("runbook.md", "security.md")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_alert_has_its_part_of_the_runbook() -> None:
    """And the runbook is of no alert that there is not."""
    headings = re.findall(r"^### (\w+)$", read("runbook.md"), re.M)

    assert sorted(headings) == sorted(alert.name for alert in alerts())


def test_runbook_names_rows_of_the_dashboard() -> None:
    """In brackets below each heading."""
    rows = {panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"}
    named = {row for line in re.findall(r"^\[([^]]+)\]$", read("runbook.md"), re.M) for row in line.split(", ")}

    assert named
    assert named <= rows


def test_runbook_names_panels_of_the_dashboard() -> None:
    """In italics."""
    panels = {panel["title"] for panel in dashboard()["panels"]}
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", read("runbook.md")))

    assert {name for name in named if name in panels}, "some are named"
    assert named - panels <= {"Status, Targets", "It cannot write to its disk"} | {"The user or the password is wrong"}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """To a file, and to a heading in it."""
    page = read(name)
    for target in re.findall(r"\]\(([^)]+)\)", page):
        path, _, anchor = target.partition("#")
        there = DOCS / path if path else DOCS / name
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", PAGES)
def test_tests_and_files_that_are_named_exist(name: str) -> None:
    """A test by its file below `tests/` and its function, a file by its path."""
    page = read(name)
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    files = re.findall(r"`((?:tests|docker|benchmarks|service)/[\w./-]+)`", page)

    assert [file for file in files if not (REPOSITORY / file).exists()] == []
    assert [test for test in tests if not _is_there(*test)] == []
    assert files


@pytest.mark.parametrize("name", PAGES)
def test_settings_and_metrics_that_are_named_exist(name: str) -> None:
    """A setting by its variable, a metric by its whole name."""
    page = read(name)
    settings = {variable(name) for name in Settings.model_fields}
    metrics = {info.name for info in Metrics().infos}

    assert set(re.findall(r"\bLLMEMB_[A-Z_]+\b", page)) <= settings
    assert set(re.findall(r"`(llmemb_\w+)", page)) <= metrics


def test_every_part_of_security_is_tested() -> None:
    """What is said to be defended names at least one test below it."""
    page = read("security.md").split("## Not defended")[0]
    parts = re.split(r"^\*\*", page, flags=re.M)[1:]

    assert len(parts) > 8
    assert [part.splitlines()[0] for part in parts if "::test_" not in part] == []


def _is_there(file: str, function: str) -> bool:
    path: Path = REPOSITORY / "tests" / file
    return path.is_file() and f"\ndef {function}(" in path.read_text(encoding="utf-8")
