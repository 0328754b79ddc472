"""`llmemb runs`: runs listed and compared, as they are on disk."""

import json
import re
import shutil
from pathlib import Path

import pytest

from llmemb.cli import main
from llmemb_training import pipeline
from llmemb_training.comparison.run_summary import read_run
from llmemb_training.evaluation.figures import Figures, write_figures
from llmemb_training.runs.run_folder import RunFolder
from tests.support.catalogue import TrainedRun, trained_run


@pytest.fixture(scope="module")
def done(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A finished run; read it, never write to it."""
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec")


@pytest.fixture
def runs(done: TrainedRun, tmp_path: Path) -> Path:
    """A folder with the finished run, one that was cut off in `rat`, and something that is no run."""
    folder = tmp_path / "runs"
    for name, steps in (("whole", list(pipeline.STEPS)), ("deep/cut", ["prepare", "select", "scft", "embed"])):
        run = RunFolder(folder / name)
        run.path.mkdir(parents=True)
        shutil.copy(done.folder / "config.json", run.path)
        fingerprints = pipeline.step_fingerprints(done.config)
        for step in steps:
            run.adopt(step, fingerprints[step], RunFolder(done.folder))
    cut = RunFolder(folder / "deep" / "cut")
    cut.begin("rat", "x")
    config = json.loads((cut.path / "config.json").read_text())
    config["rat"]["model"]["dim"] = 24
    del config["scft"]
    (cut.path / "config.json").write_text(json.dumps(config))
    (folder / "other").mkdir()
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    main(["runs", *map(str, arguments)])
    return capsys.readouterr().out


def test_list_has_each_run_with_its_figures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it was made of, when, how far it is, a line for each model, and the bundle's id."""
    out = printed(capsys, runs)
    first, second = out.split("\n\n")
    summary = read_run(runs / "whole")

    assert re.match(
        rf"{runs}/deep/cut\n  source by llm, sasrec, seed 7; 20.* UTC; 4 of 10 steps, running or "
        r"interrupted in rat; bundle -",
        first,
    )
    assert second.startswith(f"{runs}/whole\n  source by llm, sasrec, seed 7; 20")
    assert f"10 of 10 steps; bundle {summary.bundle_id}\n" in second
    rows = [line.split() for line in second.splitlines()[2:]]
    assert rows[0] == ["all", "NDCG@10", "all", "HR@10", "tail", "HR@10", "cold", "HR@10"]
    assert [row[0] for row in rows[1:3]] == ["llmemb", "vanilla"]
    assert float(rows[1][1]) == pytest.approx(summary.figure("llmemb", "all", "ndcg@10"), abs=1e-4)
    assert float(rows[1][4]) == pytest.approx(summary.figure("llmemb", "cold", "hr@10"), abs=1e-4)


def test_one_run_can_be_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the only one then."""
    assert printed(capsys, runs / "whole").startswith(f"{runs}/whole\n")


def test_comparison_has_what_differs_and_nothing_else(
    runs: Path, done: TrainedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that one has and the other has not are a difference too."""
    out = printed(capsys, runs / "whole", runs / "deep" / "cut")
    configuration, figures, _, seconds, bundle = out.split("\n\n")

    assert re.search(r"rat\.model\.dim +16 +24", configuration)
    assert re.search(r"scft\.batch_histories +8 +-", configuration)
    assert "prepare" not in configuration
    assert re.search(r"llmemb all NDCG@10 +0\.\d{4} +-\n", figures)
    assert "rat " in seconds
    assert "embed" not in seconds
    assert "id " in bundle
    assert printed(capsys, done.folder, runs / "whole").count("the same") == 5


def test_distance_of_figures_is_from_the_first_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run whose only figure that was changed is a thousandth better."""
    better = runs / "better"
    shutil.copytree(runs / "whole", better)
    path = better / "evaluate" / "figures.json"
    content = json.loads(path.read_text())
    key = {"model": "llmemb", "protocol": "full", "group": "all", "metric": "hr@10"}
    figure = next(each for each in content["figures"] if key.items() <= each.items())
    figure["value"] += 0.001
    path.unlink()  # a hard link to the finished run's
    path.write_text(json.dumps(content))

    (line,) = [line for line in printed(capsys, runs / "whole", better).splitlines() if "llmemb all HR@10" in line]
    assert line.endswith(f"{figure['value']:.4f} (+0.0010)")


def test_model_that_did_not_converge_is_warned_of(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the list its name says so and a line says why; a comparison of runs has it beside the other run."""
    bad = runs / "bad"
    shutil.copytree(runs / "whole", bad)
    for run, fault in (("whole", None), ("bad", "it learned nothing")):
        path = runs / run / "evaluate" / "figures.json"
        figures = Figures.model_validate_json(path.read_bytes())
        training = next(one for one in figures.trainings if one.model == "vanilla")
        changed = figures.model_copy(update={"trainings": (training.model_copy(update={"fault": fault}),)})
        path.unlink()  # a hard link to the finished run's
        write_figures(path.parent, changed)
    listed = printed(capsys, bad)
    compared = printed(capsys, runs / "whole", bad)

    assert re.search(r"^  vanilla \(not converged\) +0\.\d{4} ", listed, re.MULTILINE)
    assert listed.splitlines()[-1] == "  warning: vanilla did not converge: it learned nothing"
    assert "not converge" not in printed(capsys, runs / "whole")
    assert re.search(r"Did not converge\n .*\n  vanilla +- +it learned nothing\n", compared)


def test_without_runs_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is no error; a folder that is not there, or that is no run, is one."""
    assert printed(capsys, tmp_path) == f"no runs in {tmp_path}\n"

    for arguments, message in (
        ([tmp_path / "nowhere"], "there is no such folder"),
        ([tmp_path, tmp_path], "not a run folder: config.json is missing or is not valid JSON"),
    ):
        with pytest.raises(SystemExit) as caught:
            printed(capsys, *arguments)
        assert caught.value.code == 3
        assert message in capsys.readouterr().err


def test_damaged_parts_of_a_run_are_left_open(runs: Path) -> None:
    """Figures or a bundle that cannot be read do not keep the rest from being shown."""
    for path in (runs / "whole" / "evaluate" / "figures.json", runs / "whole" / "bundle" / "manifest.json"):
        path.unlink()
        path.write_text("{")

    summary = read_run(runs / "whole")

    assert (summary.figures, summary.bundle_id, len(summary.seconds)) == (None, None, 10)
