"""The offline line killed at its worst moments: the same command goes on, to the bundle of an undisturbed run."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmemb_training import pipeline
from llmemb_training.runs.run_folder import RunFolder
from tests.support.catalogue import Ending, TrainedRun, run_llmemb, trained_run, write_catalogue, write_config


@pytest.fixture(scope="module")
def run(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run that nothing disturbed; read it, never write to it."""
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec")


@pytest.mark.parametrize(
    ("step", "event", "path", "nth"),
    [
        ("scft", "open", "1_Pooling/config.json", 1),
        ("scft", "os.rename", "scft/checkpoint.safetensors", 1),
        ("scft", "os.rename", "scft/checkpoint.safetensors", 2),
        ("scft", "os.rename", "scft/lora", 1),
        ("scft", "open", ".tmp/modules.json", 2),
        ("scft", "os.rename", "steps/scft.json", 2),
        ("embed", "os.rename", "shard-000000020.safetensors", 1),
        ("embed", "os.rename", "steps/embed.json", 2),
        ("vanilla", "os.rename", "vanilla/checkpoint.safetensors", 3),
        ("rat", "os.rename", "rat/checkpoint.safetensors", 5),
        ("baselines", "os.rename", "llm_init/checkpoint.safetensors", 3),
        ("bundle", "open", "/manifest.json", 1),
    ],
)
def test_killed_run_ends_with_the_same_bundle(
    run: TrainedRun, tmp_path: Path, step: str, event: str, path: str, nth: int
) -> None:
    """Killed while it writes a checkpoint, a shard, a folder, a record: what is half-written counts nothing."""
    folder = RunFolder(tmp_path / "run")
    for name, fingerprint in pipeline.step_fingerprints(run.config).items():
        if name == step:
            break
        folder.adopt(name, fingerprint, RunFolder(run.folder))
    arguments = ["train", run.config_path, "--run", folder.path]
    code, *output = run_llmemb(arguments, tmp_path, Ending(event, path, nth))
    assert code == -signal.SIGKILL, output
    record = folder.record(step)
    assert record is not None
    assert record.status == "running"

    pipeline.train(run.config, folder.path)

    assert TrainedRun(run.config_path, folder.path).bundle().manifest.id == run.bundle().manifest.id
    assert folder.record(step).files == RunFolder(run.folder).record(step).files


def test_killed_choice_goes_on(tiny_llm: Path, tmp_path: Path) -> None:
    """Killed after a candidate of `select`: what was trained is not trained again, and the choice is the same."""
    options = (
        "rat.components=auto", "select.components=[8, 16]", "select.max_epochs=2", "scft.enabled=false"
    )  # fmt: skip
    source = write_catalogue(tmp_path / "source")
    config_path = write_config(tmp_path / "tiny.toml", source=source, base=tiny_llm)
    whole, cut = (TrainedRun(config_path, tmp_path / name, options) for name in ("whole", "cut"))
    pipeline.train(whole.config, whole.folder, last="select")
    first, second = (f"depth-None-components-{number}-residual-all.safetensors" for number in (8, 16))
    code, *output = run_llmemb(
        ["train", config_path, "--run", cut.folder, *(f"--set={option}" for option in options)],
        tmp_path,
        Ending("os.rename", second, 1),
    )
    assert code == -signal.SIGKILL, output
    trained = (cut.folder / "select" / first).stat().st_mtime_ns

    pipeline.train(cut.config, cut.folder, last="select")

    assert (cut.folder / "select" / first).stat().st_mtime_ns == trained
    for name in (first, second, "selection.json"):
        assert (cut.folder / "select" / name).read_bytes() == (whole.folder / "select" / name).read_bytes()


@pytest.mark.parametrize(
    ("step", "path"), [("scft", "scft/checkpoint.safetensors"), ("rat", "rat/checkpoint.safetensors")]
)
def test_ctrl_c_is_answered_by_a_sentence(
    run: TrainedRun, tmp_path: Path, step: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends with 130 and says how to go on; going on says that it does."""
    folder = tmp_path / "run"
    arguments = ["train", run.config_path, "--run", folder]
    code, _, errors = run_llmemb(arguments, tmp_path, Ending("os.rename", path, 2, signal.SIGINT))

    assert code == 130, errors
    assert errors == "\nllmemb train: stopped; run the same command again to go on\n"

    pipeline.train(run.config, folder)

    assert f"{step:<10}resuming after an interruption\n" in capsys.readouterr().out
    assert TrainedRun(run.config_path, folder).bundle().manifest.id == run.bundle().manifest.id


def test_process_prints_one_line_a_step(run: TrainedRun, tmp_path: Path) -> None:
    """Where there is no terminal, stdout has a line for each step and stderr nothing: no bar, no library's remark."""
    options = ["--set=rat.max_epochs=1", "--set=scft.max_pairs=20"]
    done = subprocess.run(
        [sys.executable, "-m", "llmemb", "train", str(run.config_path), "--run", str(tmp_path), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(pipeline.STEPS)
    assert done.stderr == ""
