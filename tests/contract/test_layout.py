"""The files of the repository: no module is too long, each says what it is, and `make help` lists every target."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("llmemb", "training/llmemb_training", "service/llmemb_service")
MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix() for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")
)
MOST_LINES = 500


def test_no_module_is_long() -> None:
    """A module of more than 500 lines does more than one thing."""
    lines = {name: len((REPOSITORY / name).read_text(encoding="utf-8").splitlines()) for name in MODULES}

    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert len(lines) > 20  # the search above found the packages


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    """A module opens with a docstring."""
    assert (REPOSITORY / name).read_text(encoding="utf-8").startswith('"""')


def test_make_help_lists_every_target() -> None:
    """`make help` names exactly the targets one can call: no file, no pattern, none forgotten."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # A name without a dot, slash or % before a colon that is no assignment.
    heads = re.findall(r"^([^\s#.][^:=#]*):(?!=)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    targets = {target for head in heads for target in head.split() if re.fullmatch(r"[a-z][a-z0-9_-]*", target)}
    done = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    listed = re.findall(r"^\s*(?:make )?([a-z][a-z0-9_-]*)\s{2,}\S", done.stdout, re.M)

    assert sorted(listed) == sorted(targets)
