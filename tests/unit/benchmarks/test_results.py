"""`benchmarks.results`: rows of ours beside a peer, as JSON and as a table."""

import json
from pathlib import Path

import pytest

from benchmarks.results import compare, make_results, write_results


@pytest.mark.parametrize(
    ("aim", "met"),
    [(("<=", 0.5), True), (("<=", 0.4), False), (("<=", 0.49), False), ((">=", 0.5), True), ((">=", 0.6), False)],
)
def test_ratio_of_the_medians_is_held_against_the_aim(aim: tuple, met: bool) -> None:
    """The outlier of a round moves neither median; the bound itself meets the aim."""
    row = compare("epoch", "s", [1.0, 1.0, 9.0], [2.0, 0.1, 2.0], aim)

    assert (row.ours, row.peer, row.ratio) == (1.0, 2.0, 0.5)
    assert row.met is met


def test_row_without_aim_is_neither_met_nor_missed() -> None:
    row = compare("quality", "", [0.1], [0.2])

    assert row.aim is None
    assert row.met is None


def test_results_are_written_with_machine_versions_and_commit(tmp_path: Path) -> None:
    """The JSON has the keys a reader looks for; the page has a line for each row, with its range."""
    results = make_results(
        "speed",
        "Speed",
        [compare("epoch", "s", [1.0, 1.5, 2.0], [3.0, 3.0, 3.0], ("<=", 1.0)), compare("one", "s", [1.0], [4.0])],
        settings={"threads": "1"},
        peer_versions={"other": "1.2"},
        notes=["how it was measured"],
    )

    write_results(results, tmp_path)

    stored = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert {"name", "ours", "peer", "ratio", "aim", "met"} <= stored["rows"][0].keys()
    assert stored["versions"]["peer: other"] == "1.2"
    assert stored["commit"]
    assert int(stored["machine"]["cores"]) >= 1
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| epoch | 1.5 (1 to 2) s | 3 (3 to 3) s | 0.5 | <= 1 | yes |" in page
    assert "| one | 1 s | 4 s | 0.25 |  |  |" in page
    assert "- how it was measured" in page
