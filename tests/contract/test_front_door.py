"""The files that a visitor of the repository opens first: short, true, and in the form that their readers expect."""

import re
from pathlib import Path

import pytest
import yaml

from llmemb import __version__

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_README_BYTES = 9_000
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_readme_is_short() -> None:
    """At most 9 KB: what it is, whether it works, how to try and call it, where to read on."""
    assert len(README.encode()) <= MAX_README_BYTES


def test_links_of_the_readme_lead_to_files() -> None:
    """Every link and picture names a file or folder of the repository."""
    targets = re.findall(r"\]\(([^)#]+)", README)

    assert len(targets) > 20
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_figures_of_the_readme_are_those_of_the_experiments() -> None:
    """Every figure of the table of results stands in docs/experiments.md, with the same deviation."""
    experiments = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8").replace(" 0.", " .")
    table = README.partition("## Does it work?")[2].partition("\n## ")[0]
    figures = re.findall(r"\.\d{4}(?: ± \.\d{4})?", table)

    assert len(figures) == 24
    assert [figure for figure in figures if f" {figure} " not in experiments] == []


def test_llms_txt_lists_every_page() -> None:
    """Title and summary come first, then each page of docs/ once; the decision records by their list."""
    text = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in {".md", ".ipynb"}}
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S", text, re.MULTILINE)

    assert re.match(r"# LLMEmb\n\n> \S", text)
    assert sorted(listed) == sorted({*pages, "decisions/README.md"})


def test_citation_has_the_keys_of_its_format() -> None:
    """What CFF 1.2.0 requires of a file and of a reference, and our version and licence."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]

    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() >= {"message", "title", "authors"}
    assert paper.keys() >= {"type", "title", "authors"}
    assert all(author.keys() == {"family-names", "given-names"} for author in paper["authors"])
    assert paper["title"] in " ".join(README.split())
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_make_with_least_rights(path: Path) -> None:
    """It may only read, runs nothing but targets of the Makefile, and names each action's major version."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"].split() for step in steps if "run" in step]

    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job and job["timeout-minutes"] for job in workflow["jobs"].values())
    assert all(command[0] == "make" and set(command[1:]) <= targets for command in commands)
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)


def test_workflows_run_check_and_test() -> None:
    """Both of a contributor's commands."""
    texts = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)

    assert set(re.findall(r"run: make (\w+)", texts)) == {"check", "test"}
