"""The documentation's site: built with every warning an error, whole, and asking no other host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.page import ROOT

BUILD_SECONDS = 300
LOADED = {"link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
"""Elements that make a browser load something, by the attribute that says what."""


class Loads(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a browser would load by itself."""
        address = dict(attrs).get(LOADED.get(tag, ""))
        if address:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    """Those of docs/, those of the repository that they lead to, and the notebook; and none of the tools."""
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    pages = [path.with_name("index.html") if path.name == "README.html" else path for path in pages]

    assert len(pages) > 30
    assert [str(page) for page in pages if not (site / page).is_file()] == []
    assert (site / "notebook.html").is_file()
    assert (site / "notebook.ipynb").is_file()
    assert (site / "repository" / "CHANGELOG.html").is_file()
    assert (site / "repository" / ".env.example").is_file()
    assert not (site / "tools").exists()


def test_links_of_llms_txt_lead_to_files_of_the_site(site: Path) -> None:
    """The file is at the site's root, and the Markdown that it names beside the pages."""
    targets = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text(encoding="utf-8"))

    assert len(targets) > 20
    assert [target for target in targets if not (site / target).is_file()] == []


def test_no_page_loads_from_another_host(site: Path) -> None:
    """No font, no script, no picture; styles neither."""
    pages = list(site.rglob("*.html"))
    foreign = []
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        foreign += [(page.name, address) for address in loads.addresses if re.match(r"(?:https?:)?//", address)]
    styles = [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(?:https?:)?//", path.read_text())]

    assert len(pages) > 30
    assert foreign == []
    assert styles == []


def test_links_of_the_readme_lead_to_pages(site: Path) -> None:
    """Written for the repository, they are rewritten for the site."""
    text = (site / "repository" / "index.html").read_text(encoding="utf-8")

    assert 'href="../data.html"' in text
    assert 'href="../decisions/index.html"' in text


def test_endpoints_are_drawn_from_the_description(site: Path) -> None:
    """The page draws openapi.json by Swagger UI's own files, which are in the site; no script fetches a file."""
    page = (site / "endpoints.html").read_text(encoding="utf-8")
    script = (site / "swagger" / "openapi.js").read_text(encoding="utf-8")
    loaded = re.findall(r'(?:src|href)="(swagger/[^"]+)"', page)

    assert sorted(loaded) == ["swagger/openapi.js", "swagger/swagger-ui-bundle.js", "swagger/swagger-ui.css"]
    assert all((site / name).is_file() for name in loaded)
    assert script == f"const description = {(ROOT / 'openapi.json').read_text(encoding='utf-8').rstrip()};\n"


def test_notebook_shows_its_outputs(site: Path) -> None:
    """As the page of a documentation: what the code printed stands under it."""
    text = re.sub(r"<[^>]+>", "", (site / "notebook.html").read_text(encoding="utf-8"))

    assert "read_bundle" in text
    assert "Star Trek: The Wrath of Khan" in text


def test_drawings_are_whole_by_themselves() -> None:
    """They name themselves for those who do not see them, and load nothing."""
    drawings = sorted((ROOT / "docs" / "images").glob("*.svg"))

    assert len(drawings) == 3
    for drawing in drawings:
        text = drawing.read_text(encoding="utf-8")
        assert "<title" in text
        assert "<desc" in text
        assert "href" not in text
