"""`llmemb_training.runs.versions`: the commit of the code."""

import re
import subprocess
from pathlib import Path

import pytest

import llmemb_training
from llmemb_training.runs.versions import git_commit


def test_commit_is_that_of_the_work_tree() -> None:
    """Short, and marked where files differ from it; None where the code is in no work tree."""
    folder = Path(llmemb_training.__file__).parent
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        assert git_commit() is None
        return
    commit = git_commit()

    assert commit is not None
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", commit)
    assert done.stdout.startswith(commit.rstrip("+"))


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the trainer's image."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert git_commit() is None
