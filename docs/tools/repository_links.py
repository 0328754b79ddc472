"""Part of the site's build: a link that leaves `docs/` leads to a copy of its file in the site, under `repository/`.

So the pages say what the repository's readers can follow, and the README's links work in both places.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

PREFIX = "repository"
ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "CHANGELOG.md")
"""Pages of the repository that the navigation names."""

_LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files that pages link to."""
    docs = Path(config.docs_dir)
    wanted = {ROOT / name for name in PAGES}
    for page in [*files.documentation_pages(), *wanted]:
        path = page if isinstance(page, Path) else Path(page.abs_src_path or "")
        targets = (path.parent / link for link in _links(path.read_text(encoding="utf-8"))) if path.is_file() else ()
        outside = (Path(os.path.normpath(target)) for target in targets)
        wanted |= {target for target in outside if target.is_file() and not target.is_relative_to(docs)}
    for path in sorted(wanted):
        uri = f"{PREFIX}/{path.relative_to(ROOT).as_posix()}"
        # Said here, or names with a dot in front would be left out.
        files.append(File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.INCLUDED))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs'
    """Rewrite the links of a page to where their files are in the site."""
    source = Path(page.file.abs_src_path or "")
    if not source.is_file():
        return markdown
    docs = Path(config.docs_dir)

    def in_site(match: re.Match[str]) -> str:
        if not _is_file_link(match[1]):
            return match[1]
        target = Path(os.path.normpath(source.parent / match[1]))
        if target.is_dir():
            target /= "README.md"
        uri = target.relative_to(docs) if target.is_relative_to(docs) else PREFIX / target.relative_to(ROOT)
        return os.path.relpath(uri, Path(page.file.src_uri).parent)

    return _LINK.sub(in_site, markdown)


def _links(markdown: str) -> list[str]:
    return [link for link in _LINK.findall(markdown) if _is_file_link(link)]


def _is_file_link(link: str) -> bool:
    return not urlsplit(link).scheme and not link.startswith("/")
