"""`llmemb_training.runs.run_folder`: skipping, resuming and repeating steps, and the lock."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb.errors import RunError
from llmemb_training.runs.run_folder import RunFolder, fingerprint_of

STEP = "embed"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with one step done by the fingerprint `a`: two files, one in a folder below."""
    return finished(tmp_path / "run")


def finished(path: Path, fingerprint: str = "a") -> RunFolder:
    run = RunFolder(path)
    run.begin(STEP, fingerprint)
    (run.step(STEP) / "deep").mkdir()
    (run.step(STEP) / "one.txt").write_text("one")
    (run.step(STEP) / "deep" / "two.txt").write_text("two")
    run.finish(STEP, fingerprint, 1.5, "two files")
    return run


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_finished_step_is_done(run: RunFolder) -> None:
    """The record says by what, how long, with which files, and a sentence."""
    record = run.record(STEP)

    assert run.is_done(STEP, "a")
    assert record is not None
    assert (record.status, record.seconds, record.summary) == ("done", 1.5, "two files")
    assert record.files == {"one.txt": 3, "deep/two.txt": 3}


def test_step_of_other_inputs_is_not_done(run: RunFolder) -> None:
    """Another fingerprint, or another step, is not this one."""
    assert not run.is_done(STEP, "b")
    assert not run.is_done("rat", "a")
    assert run.record("rat") is None


def test_step_that_runs_says_why(run: RunFolder) -> None:
    """The first time it needs no reason."""
    assert run.why_not_done("rat", "a") == ""
    assert run.why_not_done(STEP, "a") is None
    assert run.why_not_done(STEP, "b") == "restarting: its configuration or an input has changed"

    (run.step(STEP) / "deep" / "two.txt").unlink()
    assert run.why_not_done(STEP, "a") == "restarting: deep/two.txt is missing or has changed"

    run.begin(STEP, "b")
    assert run.why_not_done(STEP, "b") == "resuming after an interruption"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "one.txt").unlink(),
        lambda folder: (folder / "one.txt").write_text("more than one"),
        lambda folder: (folder / "deep" / "two.txt").write_text(""),
        lambda folder: ((folder / "one.txt").unlink(), (folder / "one.txt").mkdir()),
    ],
    ids=["missing", "longer", "emptied", "a folder"],
)
def test_step_with_a_damaged_file_is_not_done(run: RunFolder, damage: Callable[[Path], object]) -> None:
    """Every file must be there with its size; then the step is done again from nothing."""
    damage(run.step(STEP))

    assert not run.is_done(STEP, "a")
    assert not run.begin(STEP, "a")
    assert files(run.step(STEP)) == []


@pytest.mark.parametrize("content", ["", "{", "{}", '{"fingerprint": "a", "status": "finished", "files": {}}'])
def test_unreadable_record_is_none(run: RunFolder, content: str) -> None:
    """A record that was cut off says nothing: the step is begun anew."""
    (run.path / "steps" / f"{STEP}.json").write_text(content)

    assert run.record(STEP) is None
    assert not run.is_done(STEP, "a")
    assert not run.begin(STEP, "a")


def test_step_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    """With equal inputs the folder's files stay; the step counts as done only when it finishes."""
    run = RunFolder(tmp_path)

    assert not run.begin(STEP, "a")
    (run.step(STEP) / "shard").write_text("half")
    assert not run.is_done(STEP, "a")
    assert run.begin(STEP, "a")
    assert files(run.step(STEP)) == ["shard"]


@pytest.mark.parametrize("was_done", [True, False])
def test_step_of_other_inputs_is_begun_anew(tmp_path: Path, was_done: bool) -> None:
    """Neither a finished nor a half-done folder of other inputs leaves anything behind."""
    run = finished(tmp_path, "a")
    if not was_done:
        run.begin(STEP, "b")
        (run.step(STEP) / "half").write_text("half")

    assert not run.begin(STEP, "c")
    assert files(run.step(STEP)) == []
    assert not run.is_done(STEP, "a")


def test_bundle_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    """It may be serving: beginning the step takes nothing away."""
    run = RunFolder(tmp_path)
    run.begin("bundle", "a")
    (run.step("bundle") / "manifest.json").write_text("{}")
    run.finish("bundle", "a", 1.0, "")

    assert not run.begin("bundle", "b")
    assert files(run.step("bundle")) == ["manifest.json"]


def test_step_is_taken_over_by_hard_links(run: RunFolder, tmp_path: Path) -> None:
    """Nothing is copied, and the record is the other's."""
    mine = RunFolder(tmp_path / "mine")
    mine.adopt(STEP, "a", run)

    assert mine.is_done(STEP, "a")
    assert mine.record(STEP) == run.record(STEP)
    assert (mine.step(STEP) / "deep" / "two.txt").samefile(run.step(STEP) / "deep" / "two.txt")


def test_step_that_goes_its_own_way_leaves_the_other_s_files(run: RunFolder, tmp_path: Path) -> None:
    """A folder taken over and then begun anew takes nothing from the one it came from."""
    mine = RunFolder(tmp_path / "mine")
    mine.adopt(STEP, "a", run)
    mine.begin(STEP, "b")

    assert run.is_done(STEP, "a")
    assert not mine.is_done(STEP, "b")


def test_only_what_fits_is_taken_over(run: RunFolder, tmp_path: Path) -> None:
    """Neither a step of other inputs, nor one that is not done or damaged, nor one that is done here already."""
    mine = RunFolder(tmp_path / "mine")
    mine.adopt(STEP, "b", run)
    mine.adopt("rat", "a", run)
    assert not mine.step(STEP).exists()

    own = finished(tmp_path / "own")
    own.adopt(STEP, "a", run)
    assert not (own.step(STEP) / "one.txt").samefile(run.step(STEP) / "one.txt")

    (run.step(STEP) / "one.txt").unlink()
    mine.adopt(STEP, "a", run)
    assert not mine.step(STEP).exists()


def test_take_over_that_was_cut_off_is_done_again(run: RunFolder, tmp_path: Path) -> None:
    """Some of the links are there already, and a file of the step's own; the result is the other's folder."""
    mine = RunFolder(tmp_path / "mine")
    mine.begin(STEP, "a")
    (mine.step(STEP) / "one.txt").hardlink_to(run.step(STEP) / "one.txt")
    (mine.step(STEP) / "shard").write_text("half")
    mine.adopt(STEP, "a", run)

    assert mine.is_done(STEP, "a")
    assert files(mine.step(STEP)) == files(run.step(STEP))
    assert run.is_done(STEP, "a")


def test_folder_is_held_by_one_process(tmp_path: Path) -> None:
    """While another process is at work the folder is refused, whole; when that process is dead it is free."""
    program = "import sys\nfrom pathlib import Path\nfrom llmemb_training.runs.run_folder import RunFolder\n"
    program += "with RunFolder(Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(RunError, match=f"^another llmemb process is using {tmp_path}$"),
            RunFolder(tmp_path).locked(),
        ):
            pass
        other.kill()
    with RunFolder(tmp_path).locked():
        pass
    with RunFolder(tmp_path).locked():
        pass


REPLACE_BUNDLE = """
import os, signal, sys
from pathlib import Path
from llmemb.files import new_folder

def kill_between_the_renames(event, arguments):
    if event == "os.rename" and Path(arguments[1]).name == "bundle":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_between_the_renames)
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "manifest.json").write_text("new")
"""


def test_bundle_survives_a_kill_while_it_is_replaced(tmp_path: Path) -> None:
    """A process killed between the two renames of a replacement leaves the old bundle to the next run."""
    run = RunFolder(tmp_path / "run")
    run.step("bundle").mkdir(parents=True)
    (run.step("bundle") / "manifest.json").write_text("old")
    killed = subprocess.run([sys.executable, "-c", REPLACE_BUNDLE, str(run.step("bundle"))], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not run.step("bundle").exists()

    with run.locked():
        left = files(run.path)

    assert left == [".lock", "bundle/manifest.json"]
    assert (run.step("bundle") / "manifest.json").read_text() == "old"


def test_what_a_killed_process_left_half_written_is_removed(run: RunFolder) -> None:
    """Temporary files and folders go when the folder is held again; what is finished stays."""
    for name in (".bundle.x1.tmp", f".{STEP}.retired", f"{STEP}/.base.x2.tmp"):
        (run.path / name).mkdir()
        (run.path / name / "model").write_text("half")
    (run.path / "steps" / f".{STEP}.json.77.tmp").write_text("half")
    with run.locked():
        left = files(run.path)

    assert left == [".lock", f"{STEP}/deep/two.txt", f"{STEP}/one.txt", f"steps/{STEP}.json"]


def test_fingerprint_depends_on_every_part() -> None:
    """The step, each value and each input; not the order in which a configuration's keys stand."""
    first = fingerprint_of("rat", {"a": 1, "b": 2.0}, ["x", "y"])

    assert fingerprint_of("rat", {"b": 2.0, "a": 1}, ["x", "y"]) == first
    assert len({
        first,
        fingerprint_of("scft", {"a": 1, "b": 2.0}, ["x", "y"]),
        fingerprint_of("rat", {"a": 1, "b": 2.5}, ["x", "y"]),
        fingerprint_of("rat", {"a": 1}, ["x", "y"]),
        fingerprint_of("rat", {"a": 1, "b": 2.0}, ["y", "x"]),
        fingerprint_of("rat", {"a": 1, "b": 2.0}, ["xy"]),
    }) == 6  # fmt: skip
