"""What a person sees of a run: a line for each step and, in a terminal, bars under them for the work under way."""

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
"""Over which a rate is measured: an epoch may take minutes."""


class _PaceColumn(ProgressColumn):
    """The rate and the time left of a bar, or how long a step has run."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        if task.total is None:
            return Text(_duration(task.elapsed or 0.0))
        if not task.speed:
            return Text("")
        rate = f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each"
        return Text(rate if task.time_remaining is None else f"{rate}, {_duration(task.time_remaining)} left")


def bars(console: Console | None = None) -> Progress:
    """Return bars for a terminal; without a console they are counted and not drawn."""
    fixed = Column(no_wrap=True)  # in a narrow terminal the bar itself gives way
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
        # Lines go above the bars; but those for a pipe go into the pipe.
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=4,
    )


BARS: ContextVar[Progress] = ContextVar("bars", default=bars())  # noqa: B039  # those are not drawn
"""Of the run that is watched."""


@contextmanager
def watching() -> Iterator[None]:
    """Draw the bars of what happens in the block, where standard error is a terminal that can draw."""
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
    """How far a part of a step is; made by `bar`."""

    _progress: Progress
    _task: TaskID

    def update(self, units: int = 1) -> None:
        """Count further units as done."""
        self._progress.advance(self._task, units)

    def set_figures(self, **figures: float) -> None:
        """Show figures beside the bar, by name."""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self._progress.update(self._task, figures=shown)


@contextmanager
def bar(step: str, unit: str = "", total: int | None = None) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        step: what the bar is called.
        unit: what is counted, in the plural.
        total: how many there are; None shows only how long the block has run.
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
