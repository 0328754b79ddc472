"""docs/own-catalogue.md, followed literally: from two CSV files to a served bundle, by `make test-docs`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.follow import Reader, has_curl, make_workplace
from tests.docs.page import ROOT, read_blocks
from tests.support.ports import free_port

PAGE = "docs/own-catalogue.md"
SHOP = ROOT / "docs" / "examples" / "shop"
MODEL = ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.slow
@pytest.mark.skipif("DOCS_BUNDLE" not in os.environ, reason="it takes minutes: make test-docs")
def test_page_leads_to_a_served_bundle(tmp_path: Path) -> None:
    """Every command works, and prints what the page says."""
    if not has_curl() or not MODEL.is_file():
        pytest.skip("curl, or the small model, is not here: run `make demo-bundle` once")
    workplace = make_workplace(tmp_path / "repository")

    with Reader(workplace, f"127.0.0.1:{free_port()}", values=True) as reader:
        run = reader.follow(read_blocks(PAGE))

    assert run == 11
    assert (workplace / "runs" / "shop" / "bundle" / "manifest.json").is_file()


def test_shop_is_made_the_same_each_time(tmp_path: Path) -> None:
    """The committed files are those that the command makes."""
    subprocess.run([sys.executable, SHOP / "make_shop.py", tmp_path], check=True)

    for name in ("items.csv", "interactions.csv"):
        assert (tmp_path / name).read_bytes() == (SHOP / name).read_bytes()
