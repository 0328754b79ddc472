"""Every fenced block of the README and of docs/: run as it stands, or marked why not.

The service has the tiny bundle and the films that the pages name. `make test-docs` sets `DOCS_BUNDLE`, and it is the
demo's bundle then, whose films these are.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmemb.client import Client
from llmemb_service.http.openapi.examples import HEAT
from llmemb_training.config import load_config
from tests.docs.follow import ADDRESS, Reader, has_curl, make_workplace
from tests.docs.page import PAGES, ROOT, Block, read_blocks
from tests.support.forked_service import ServiceForks
from tests.support.service import shared_encoder_url

OWN_TESTS = ("docs/own-catalogue.md", "docs/tutorial.md")
FOLLOWED = [page for page in PAGES if page not in OWN_TESTS and read_blocks(page)]
FILMS = ("50", "172", "181", "222", "227", "228", "229", "230", "380")
"""Films of MovieLens that pages name; of Star Wars and Star Trek."""
DEMO = os.environ.get("DOCS_BUNDLE")
MAX_NOT_RUN = 20
"""So that the list of what is not run stays short."""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceForks]:
    """Starts a service at the cost of a fork."""
    with ServiceForks(tmp_path_factory.mktemp("logs")) as forks:
        yield forks


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, full_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `runs/demo` is: with the bundle that is served, and another one, NAME, to swap to."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(DEMO or tiny_bundle, folder / "bundle", copy_function=shutil.copy2)
    shutil.copytree(full_bundle, folder / "NAME")
    return folder


@pytest.mark.parametrize("page", FOLLOWED)
def test_blocks_of_a_page_work(page: str, forks: ServiceForks, bundles: Path, tmp_path: Path) -> None:
    """In the page's order; where output is shown it has these members, of these types."""
    if not has_curl():
        pytest.skip("curl is not here")
    blocks = read_blocks(page)
    workplace = make_workplace(tmp_path / "repository")
    (workplace / "runs" / "demo").parent.mkdir()
    (workplace / "runs" / "demo").symlink_to(bundles)
    variables = {"BUNDLE": "runs/demo/bundle", "LLMEMB_STATE_DIR": str(workplace / "state")}
    address = ADDRESS
    if any(asks(block) for block in blocks):
        if not DEMO:
            variables["LLMEMB_ENCODER_URL"] = shared_encoder_url()
        url = forks.start(bundles / "bundle", {name: variables[name] for name in variables if name != "BUNDLE"}).url
        address = url.removeprefix("http://")
        variables["URL"] = url
        if not DEMO:
            with Client(url) as client:
                for film in FILMS:
                    client.put_item(film, HEAT, categories=["Sci-Fi", "Action"])

    with Reader(workplace, address, variables=variables) as reader:
        reader.follow(blocks)


def asks(block: Block) -> bool:
    """Whether a block asks a service, or for a copy of its state."""
    return block.not_run is None and any(word in block.text for word in (ADDRESS, "$URL", "llmemb backup"))


def test_few_blocks_are_not_run() -> None:
    """And each says why in some words."""
    skipped = [block for page in PAGES for block in read_blocks(page) if block.not_run is not None]

    assert len(skipped) <= MAX_NOT_RUN, [block.place for block in skipped]
    assert all(len(block.not_run or "") > 10 for block in skipped)


def test_every_fence_is_found() -> None:
    """No block hides from the search by how it is indented, or by a fence of another kind."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")

        assert len(re.findall(r"^\s*(?:```|~~~)", text, flags=re.MULTILINE)) == 2 * len(read_blocks(page)), page
        assert not re.search(r"^(?: {4}|\t)\S", outside_of_lists(text), flags=re.MULTILINE), page


def outside_of_lists(text: str) -> str:
    """A page without its fenced blocks and lists: an indented line in the rest is code without a fence."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(?:[-*]|\d+\.) .*(?:\n(?:[ \t]+.*)?)*", "", text, flags=re.MULTILINE)


def not_run_lines() -> list[tuple[str, str]]:
    """Each line of the shell that no test runs, with where it stands."""
    blocks = (block for page in PAGES for block in read_blocks(page) if block.language == "sh" and block.not_run)
    return [(block.place, line.split(" #")[0].strip()) for block in blocks for line in block.text.splitlines()]


def test_commands_that_are_not_run_are_there() -> None:
    """Targets of make, verbs of llmemb with their configurations, and scripts have the names that they are given."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    seen = 0
    for place, line in not_run_lines():
        words = line.split()
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets, f"{place}: {line}"
        elif words[:1] == ["llmemb"] and words[2:3] and words[2].endswith(".toml"):
            load_config(ROOT / words[2], [words[n + 1] for n, word in enumerate(words) if word == "--set"])
        elif words[:1] and words[0].endswith(".sh"):
            assert (ROOT / words[0]).is_file(), f"{place}: {line}"
        elif words[:2] == ["python", "-m"]:
            path = ROOT / words[2].replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{place}: {line}"
        else:
            continue
        seen += 1

    assert seen > 10
