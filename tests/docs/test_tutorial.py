"""docs/tutorial.md, followed literally on the trained demo: `make test-docs`, which depends on its bundle."""

import os
import shutil
from pathlib import Path

import pytest

from tests.docs.follow import Reader, has_curl, make_workplace
from tests.docs.page import ROOT, read_blocks
from tests.support.ports import free_port

PAGE = "docs/tutorial.md"
DEMO = ROOT / "runs" / "demo"


@pytest.mark.slow
@pytest.mark.skipif("DOCS_BUNDLE" not in os.environ, reason="the demo is trained first by `make test-docs`")
def test_tutorial_leads_where_it_says(tmp_path: Path) -> None:
    """Every command works, and prints what the page says, on a copy of the demo's run."""
    assert has_curl()
    workplace = make_workplace(tmp_path / "repository")
    # Its files are never changed in place, but for the lock.
    shutil.copytree(
        DEMO, workplace / "runs" / "demo", copy_function=link_or_copy, ignore=shutil.ignore_patterns(".lock")
    )

    with Reader(workplace, f"127.0.0.1:{free_port()}", values=True) as reader:
        run = reader.follow(read_blocks(PAGE))

    assert run == 10


def link_or_copy(source: str, target: str) -> None:
    """A hard link, where both are of one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
