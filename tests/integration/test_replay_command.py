"""`llmemb replay` on a run of the made-up catalogue: its table, what is skipped, refused, and gone on with."""

import signal
from pathlib import Path

import pytest

from llmemb.cli import main
from llmemb_training import pipeline
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation.replay import read_replay
from llmemb_training.rat.recommenders import read_recommender
from llmemb_training.runs.run_folder import RunFolder
from tests.support.catalogue import Ending, TrainedRun, run_llmemb, trained_run

OPTIONS = ("replay.ks=[0, 1, 4]", "replay.background_sessions=40")


@pytest.fixture(scope="module")
def run(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A finished run; read it, never write to it."""
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec")


@pytest.fixture(scope="module")
def whole(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A copy of it that was replayed without a disturbance."""
    mine = copy_of(run, tmp_path_factory.mktemp("whole"))
    main(arguments(mine))
    return mine


def copy_of(run: TrainedRun, folder: Path) -> TrainedRun:
    mine = RunFolder(folder / "run")
    for name, fingerprint in pipeline.step_fingerprints(run.config).items():
        mine.adopt(name, fingerprint, RunFolder(run.folder))
    return TrainedRun(run.config_path, mine.path)


def arguments(run: TrainedRun, *overrides: str) -> list[str]:
    sets = (f"--set={override}" for override in (*OPTIONS, *overrides))
    return ["replay", str(run.config_path), "--run", str(run.folder), *sets]


def test_table_is_printed_and_kept(whole: TrainedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each k and one for the recommender trained anew; a second time there is nothing to do but print."""
    main(arguments(whole))
    output = capsys.readouterr().out
    table = (whole.folder / "replay" / "table.md").read_text(encoding="utf-8")
    figures = read_replay(whole.folder / "replay")

    assert output.endswith(table + "\n")
    assert [line.split(":")[0] for line in output.splitlines()[:2]] == ["retrain   up to date", "replay    up to date"]
    assert [(line.model, line.clicks) for line in figures.rows] == [
        ("frozen", 0), ("first clicks", 1), ("first clicks", 4), ("trained anew", 4)
    ]  # fmt: skip
    assert figures.by_position
    assert "so the replay goes by the position in each user's history" in table
    assert figures.later_clicks > 5
    assert {path.name for path in (whole.folder / "replay").iterdir()} == {"figures.json", "table.md"}


def test_recommender_trained_anew_knows_the_held_out_items(whole: TrainedRun) -> None:
    """It was trained on them, aligned to a vanilla one that was too; the line's own recommender is what it was."""
    config, folder = whole.config, whole.folder
    dataset = read_dataset(folder / "prepare")
    anew = read_dataset(folder / "retrain" / "prepare")
    ours, retrained = (
        read_recommender(path, config.rat.model) for path in (folder / "rat", folder / "retrain" / "rat")
    )
    vanilla = read_recommender(folder / "retrain" / "vanilla", config.rat.model)

    assert (anew.num_warm, len(vanilla.semantic)) == (dataset.num_items, dataset.num_items)
    assert ours.residual is not None
    assert retrained.residual is not None
    assert not ours.residual[dataset.num_warm :].any()
    assert retrained.residual[dataset.num_warm :].any(axis=1).all()


@pytest.mark.parametrize(
    ("step", "path", "nth"),
    [
        ("retrain", "retrain/prepare/dataset.json", 1),
        ("retrain", "retrain/vanilla/checkpoint.safetensors", 4),
        ("retrain", "retrain/rat/checkpoint.safetensors", 5),
        ("retrain", "steps/retrain.json", 2),
        ("replay", "work/items-000000000.safetensors", 1),
        ("replay", "work/ordinary-000000000.safetensors", 1),
        ("replay", "work/later-anew-000000000.safetensors", 1),
        ("replay", "replay/table.md", 1),
        ("replay", "steps/replay.json", 2),
    ],
)
def test_killed_replay_goes_on_to_the_same_table(
    run: TrainedRun, whole: TrainedRun, tmp_path: Path, step: str, path: str, nth: int
) -> None:
    """Killed while it trains, fits, ranks or writes: the same command goes on, and the figures are the same."""
    mine = copy_of(run, tmp_path)
    event = "open" if path.endswith("dataset.json") else "os.rename"
    code, *output = run_llmemb(arguments(mine), tmp_path, Ending(event, path, nth))
    assert code == -signal.SIGKILL, output
    record = RunFolder(mine.folder).record(step)
    assert record is not None
    assert record.status == "running"

    main(arguments(mine))

    for name in ("figures.json", "table.md"):
        assert (mine.folder / "replay" / name).read_bytes() == (whole.folder / "replay" / name).read_bytes()


def test_ctrl_c_is_answered_by_a_sentence(run: TrainedRun, tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and says how to go on."""
    mine = copy_of(run, tmp_path)
    ending = Ending("os.rename", "retrain/rat/checkpoint.safetensors", 2, signal.SIGINT)
    code, _, errors = run_llmemb(arguments(mine), tmp_path, ending)

    assert (code, errors) == (130, "\nllmemb replay: stopped; run the same command again to go on\n")


def test_other_weights_train_nothing_anew(run: TrainedRun, whole: TrainedRun, tmp_path: Path) -> None:
    """Only the last k and the training's own options make another recommender of the first clicks."""
    mine = copy_of(run, tmp_path)
    RunFolder(mine.folder).adopt(
        "retrain", RunFolder(whole.folder).record("retrain").fingerprint, RunFolder(whole.folder)
    )
    before = (mine.folder / "retrain" / "rat" / "sequence_model.safetensors").stat().st_ino
    main(arguments(mine, "replay.prior=5"))

    assert (mine.folder / "retrain" / "rat" / "sequence_model.safetensors").stat().st_ino == before
    assert read_replay(mine.folder / "replay").rows[1] != read_replay(whole.folder / "replay").rows[1]
    assert read_replay(mine.folder / "replay").rows[-1] == read_replay(whole.folder / "replay").rows[-1]


def test_replay_without_training_anew(run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option leaves the last line out, and the training."""
    mine = copy_of(run, tmp_path)
    main(arguments(mine, "replay.trained_anew=false"))

    assert capsys.readouterr().out.startswith("retrain   left out by replay.trained_anew")
    assert [line.model for line in read_replay(mine.folder / "replay").rows] == ["frozen"] + 2 * ["first clicks"]
    assert not list((mine.folder / "retrain").iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["replay.ks=[1, 5]"], "replay: Value error, ks [1, 5] must begin with 0 and ascend, such as [0, 1, 5]"),
        (["replay.ks=[0]"], "replay: Value error, ks [0] must begin with 0 and ascend, such as [0, 1, 5]"),
        (["replay.prior=0"], "replay.prior: Input should be greater than 0"),
        (["replay.ks=[0, 99]"], "replay.ks ends with 99, but the most clicks that any of the 2 measured items has is "),
        (["rat.max_epochs=9"], "vanilla is not up to date; run its verb or `llmemb train` first"),
    ],
)
def test_replay_that_cannot_be_is_our_error(
    run: TrainedRun, tmp_path: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and exit code 3, before anything is trained."""
    mine = copy_of(run, tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments(mine, *overrides))

    assert caught.value.code == 3
    assert message in capsys.readouterr().err
    assert not (mine.folder / "retrain" / "rat").exists()


def test_run_without_a_recommender_is_our_error(
    run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verb names the step that it lacks and the command that makes it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments(TrainedRun(run.config_path, tmp_path / "run")))

    assert caught.value.code == 3
    assert capsys.readouterr().err == (
        f"llmemb replay: {tmp_path}/run: prepare is not up to date; run its verb or `llmemb train` first\n"
    )
