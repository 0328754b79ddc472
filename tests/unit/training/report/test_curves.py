"""`llmemb_training.report.curves`: what was logged, of a training that was cut off or began anew as of any other."""

from pathlib import Path

import pytest

from llmemb_training.report.curves import read_curves
from tests.support.reported import write_log

TAG = "loss/train"


def read(logs: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves by name."""
    return {
        curve.name: [(step, pytest.approx(value)) for step, value in curve.points] for curve in read_curves(logs, TAG)
    }


def test_every_training_that_logged_it_is_read(tmp_path: Path) -> None:
    """By name, whatever the depth of the folder; a training without the scalar is left out."""
    write_log(tmp_path / "vanilla", {TAG: [3.0, 2.0]})
    write_log(tmp_path / "baselines" / "llm_init", {TAG: [5.0]})
    write_log(tmp_path / "scft", {"train/loss": [1.0]})

    assert read(tmp_path) == {"baselines/llm_init": [(1, 5.0)], "vanilla": [(1, 3.0), (2, 2.0)]}


def test_resumed_training_is_one_curve(tmp_path: Path) -> None:
    """What went on from a checkpoint replaces what was lost after it."""
    write_log(tmp_path / "rat", {TAG: [3.0, 2.0, 9.0, 9.0]})
    write_log(tmp_path / "rat", {TAG: [1.5, 1.0]}, first_step=3)

    assert read(tmp_path) == {"rat": [(1, 3.0), (2, 2.0), (3, 1.5), (4, 1.0)]}


def test_training_that_began_anew_forgets_the_old_one(tmp_path: Path) -> None:
    """A shorter training after a longer one does not end with the longer one's steps."""
    write_log(tmp_path / "rat", {TAG: [9.0, 9.0, 9.0, 9.0]})
    write_log(tmp_path / "rat", {TAG: [3.0, 2.0]})

    assert read(tmp_path) == {"rat": [(1, 3.0), (2, 2.0)]}


def test_no_logs_no_curves(tmp_path: Path) -> None:
    """A run folder without logs is no error."""
    assert read_curves(tmp_path / "logs", TAG) == ()
