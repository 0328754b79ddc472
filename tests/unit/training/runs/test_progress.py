"""What is shown of a run: a line for each step everywhere, bars in a terminal, and never a bar in a pipe."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from llmemb_training.runs import progress
from llmemb_training.runs.progress import bar, bars, watching

PROGRAM = """
from llmemb_training.runs.progress import bar, say, watching
with watching():
    say("prepare", "up to date: 3 users")
    with bar("rat"), bar("vanilla", "epochs", 2):
        say("rat", "resuming after an interruption")
    say("rat", "sasrec (1.2 s)")
"""
LINES = ["prepare   up to date: 3 users", "rat       resuming after an interruption", "rat       sasrec (1.2 s)"]


def run(*, out_is_terminal: bool, error_is_terminal: bool, term: str = "xterm") -> tuple[str, str]:
    """Run the program; return what came at a pipe on standard output and at a terminal."""
    terminal, device = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=device if out_is_terminal else subprocess.PIPE,
        stderr=device if error_is_terminal else subprocess.DEVNULL,
        env=os.environ | {"TERM": term, "COLUMNS": "100"},
    )
    os.close(device)
    drawn = b""
    try:
        while part := os.read(terminal, 65536):
            drawn += part
    except OSError:
        pass  # the program has ended, and with it the terminal
    os.close(terminal)
    out, _ = done.communicate()
    assert done.returncode == 0
    return (out or b"").decode(), drawn.decode()


def test_without_a_terminal_there_are_lines() -> None:
    """As a log wants them."""
    out, _ = run(out_is_terminal=False, error_is_terminal=False)

    assert out.splitlines() == LINES


def test_pipe_gets_the_same_lines_beside_a_terminal() -> None:
    """`llmemb train ... | tee log`: the bars are drawn, and nothing of them goes down the pipe."""
    out, drawn = run(out_is_terminal=False, error_is_terminal=True)

    assert out.splitlines() == LINES
    assert "0/2 epochs" in drawn
    assert LINES[1] not in drawn


def test_terminal_gets_the_lines_above_the_bars() -> None:
    """Each line once; the bars are gone at the end."""
    _, drawn = run(out_is_terminal=True, error_is_terminal=True)

    assert [drawn.count(line) for line in LINES] == [1, 1, 1]
    assert "0/2 epochs" in drawn
    assert "epochs" not in drawn[drawn.index(LINES[2]) :]


def test_terminal_that_cannot_draw_gets_lines() -> None:
    """Such as an editor's."""
    _, drawn = run(out_is_terminal=True, error_is_terminal=True, term="dumb")

    assert drawn.splitlines() == LINES


def test_steps_may_show_bars_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that is called by itself, as tests do, or whose output goes into a log."""
    with watching(), bar("embed", "items", 4) as shown:
        shown.update(3)
        shown.set_figures(loss=1.0)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [80, 120])
def test_bar_says_how_far_how_fast_and_how_long_still(width: int) -> None:
    """In one line, in a narrow terminal too; beside it the last figures."""
    now = 0.0
    file = io.StringIO()
    drawn = bars(Console(file=file, force_terminal=True, color_system=None, width=width))
    drawn.get_time = lambda: now
    token = progress.BARS.set(drawn)
    with bar("vanilla_bce", "epochs", 200) as epochs:
        for loss in (2.5, 1.75, 1.25):
            epochs.update()
            epochs.set_figures(loss=loss, ndcg=loss / 10)
            now += 40.0
        drawn.console.print(drawn.get_renderable())
    progress.BARS.reset(token)

    (line,) = file.getvalue().splitlines()
    assert " ".join(line.split()) == "vanilla_bce 3/200 epochs 40.0 s each, 2:11:20 left loss 1.25 ndcg 0.125"
    assert drawn.tasks == []


def test_step_without_a_total_says_how_long_it_has_run() -> None:
    """Such as `prepare`, whose length is unknown."""
    now = 0.0
    file = io.StringIO()
    drawn = bars(Console(file=file, force_terminal=True, color_system=None, width=80))
    drawn.get_time = lambda: now
    token = progress.BARS.set(drawn)
    with bar("prepare"):
        now += 75.0
        drawn.console.print(drawn.get_renderable())
    progress.BARS.reset(token)

    assert file.getvalue().split()[0::2] == ["prepare", "0:01:15"]


def test_failed_step_takes_its_bar_away() -> None:
    """Its error is said by the command."""
    drawn = bars()
    token = progress.BARS.set(drawn)
    with pytest.raises(KeyboardInterrupt), bar("scft", "pairs", 5):
        raise KeyboardInterrupt
    progress.BARS.reset(token)

    assert drawn.tasks == []
