"""Part of the site's build: the Markdown of each page lies beside it, for the programs that follow `llms.txt`."""

import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_post_build(config: MkDocsConfig) -> None:
    """Copy the pages' sources into the site."""
    docs = Path(config.docs_dir)
    for source in docs.rglob("*.md"):
        shutil.copyfile(source, Path(config.site_dir) / source.relative_to(docs))
