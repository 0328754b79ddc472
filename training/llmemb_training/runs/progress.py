"""Progress output: one line per step and, in a terminal, progress bars below the lines."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

SPEED_SECONDS = 600.0
"""Time window for rates, in seconds: long, because an epoch may take minutes."""


class _PaceColumn(ProgressColumn):
    """The rate and the remaining time of a bar, or the elapsed time of a step."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        if task.total is None:
            return Text(_duration(task.elapsed or 0.0))
        if not task.speed:
            return Text("")
        rate = f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each"
        return Text(rate if task.time_remaining is None else f"{rate}, {_duration(task.time_remaining)} left")


def bars(console: Console | None = None) -> Progress:
    """Return progress bars for a console; without one they are updated but not displayed."""
    fixed = Column(no_wrap=True)  # in a narrow terminal, only the bar itself shrinks
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TaskProgressColumn(
            "{task.completed:,}/{task.total:,} {task.fields[unit]}", "", style="", markup=False, table_column=fixed
        ),
        _PaceColumn(fixed),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=console is None,
        transient=True,
        speed_estimate_period=SPEED_SECONDS,
        # In a terminal, print lines above the bars; with standard output redirected, leave it alone.
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=4,
    )


BARS: ContextVar[Progress] = ContextVar("bars", default=bars())  # noqa: B039  # those are not drawn
"""The bars of the current run."""


@contextmanager
def watching() -> Iterator[None]:
    """Display progress bars while the block runs, if standard error is a terminal that supports them."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        yield
        return
    with bars(Console(stderr=True)) as progress:
        token = BARS.set(progress)
        try:
            yield
        finally:
            BARS.reset(token)


@dataclass(frozen=True, slots=True)
class Bar:
    """The progress of a part of a step; created by `bar`."""

    _progress: Progress
    _task: TaskID

    def update(self, units: int = 1) -> None:
        """Advance the bar by a number of units."""
        self._progress.advance(self._task, units)

    def set_figures(self, **figures: float) -> None:
        """Show named values next to the bar."""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._progress.update(self._task, figures=shown)


@contextmanager
def bar(step: str, unit: str = "", total: int | None = None) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        step: label of the bar.
        unit: plural name of the counted units.
        total: total number of units; None shows only the elapsed time.
    """
    progress = BARS.get()
    task = progress.add_task(step, total=total, unit=unit, figures="")
    try:
        yield Bar(progress, task)
    finally:
        progress.remove_task(task)
        progress.refresh()


def say(step: str, line: str) -> None:
    """Print one line of a step on standard output."""
    sys.stdout.write(f"{step:<10}{line}\n")
    sys.stdout.flush()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
