"""What is shown of a run: a table in a terminal, lines elsewhere, and never a drawing in a pipe."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from training import progress
from training.terminal_view import TerminalView, curve

PROGRAM = """
from training.progress import bar, watching
with watching("runs/x", ["prepare", "rat"], {}) as view:
    view.skip("prepare", "up to date: 3 users")
    view.begin("rat", "going on where it was cut off")
    with bar("vanilla", " epochs", 2) as epochs:
        epochs.update(2)
    view.end("rat", "sasrec", 1.25)
"""
LINES = ["prepare   up to date: 3 users", "rat       going on where it was cut off", "rat       sasrec (1.2 s)"]


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
    """`llmemb train ... | tee log`: the table is drawn, and nothing of it goes down the pipe."""
    out, drawn = run(out_is_terminal=False, error_is_terminal=True)

    assert out.splitlines() == LINES
    assert "skipped" in drawn
    assert "up to date: 3 users" in drawn


def test_terminal_gets_the_table_alone() -> None:
    """Each thing once: no line beside the table."""
    _, drawn = run(out_is_terminal=True, error_is_terminal=True)

    assert "done" in drawn
    assert LINES[2] not in drawn


def test_terminal_that_cannot_draw_gets_lines() -> None:
    """Such as an editor's."""
    _, drawn = run(out_is_terminal=True, error_is_terminal=True, term="dumb")

    assert drawn.splitlines() == LINES


def test_steps_may_draw_bars_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that is called by itself, as tests do."""
    with progress.bar("embed", " items", 4) as bar:
        bar.update(3)
        bar.update()
        bar.set_figures(loss=1.0)
        done = bar.n

    assert done == 4
    assert capsys.readouterr() == ("", "")


def drawing(*, width: int = 120) -> tuple[TerminalView, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=width)
    return TerminalView("runs/x", ["prepare", "scft", "rat"], {"scft": 75.0, "rat": 0.2}, console=console), file


def test_table_says_what_is_done_skipped_running_and_waiting() -> None:
    """And how long a step took that has run here before."""
    view, file = drawing()
    with view:
        view.skip("prepare", "up to date: 3 users")
        view.begin("scft", "anew: its configuration or an input has changed")

    last = file.getvalue().rpartition("runs/x")[2]
    rows = [line.split() for line in last.splitlines() if line.strip()]
    assert rows[1][:2] == ["prepare", "skipped"]
    assert rows[2][:2] == ["scft", "stopped"]
    assert "anew: its configuration or an input has changed, took 1:15 last time" in last
    assert rows[3] == ["rat", "waits"]


def test_bar_has_figures_with_their_curve_and_goes_away() -> None:
    """What comes after it has gone is not shown, and does no harm."""
    view, file = drawing()
    with view:
        bar = view.bar("scft", " steps", 10)
        for loss in (3.0, 2.0, 1.0):
            bar.update()
            bar.set_figures(loss=loss, ndcg=None)
        view._live.refresh()
        bar.close()
        bar.close()
        bar.set_figures(loss=0.5)
    drawn, _, last = file.getvalue().rpartition("runs/x")

    assert bar.n == 3
    assert "3/10" in drawn
    assert "loss 1 █▅▁" in drawn
    assert "ndcg" not in drawn
    assert "3/10" not in last


@pytest.mark.parametrize(("values", "drawn"), [([1.0], ""), ([2.0, 2.0], ""), ([0.0, 1.0], "▁█"), ([5, 0, 10], "▅▁█")])
def test_curve_goes_from_the_least_to_the_greatest(values: list[float], drawn: str) -> None:
    """A single value, or equal ones, have none."""
    assert curve(values) == drawn


def test_bar_keeps_to_its_line_in_a_narrow_terminal() -> None:
    """Its figures have a line of their own."""
    view, file = drawing(width=80)
    with view, view.bar("vanilla_bce", " epochs", 40) as bar:
        for epoch in range(30):
            bar.update()
            bar.set_figures(loss=3 - epoch / 20, ndcg=epoch / 100)

        view._live.refresh()
    frame = file.getvalue().rpartition("vanilla_bce")[2].splitlines()
    assert "30/40" in frame[0]
    assert frame[0].rstrip().endswith("left")
    assert frame[1].startswith("  loss 1.55 █")
