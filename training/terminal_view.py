"""A run in a terminal: a table of the steps that fills itself, and under it the bar of the one that runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from training.progress import View

REFRESHES_PER_SECOND = 4
KEPT_VALUES = 24
"""Of a figure, in its little curve."""
_LEVELS = "▁▂▃▄▅▆▇█"
_STYLES = {"waits": "dim", "runs": "bold cyan", "done": "green", "skipped": "dim", "stopped": "bold red"}


@dataclass
class _Row:
    """What the table says of a step."""

    state: str = "waits"
    text: str = ""
    started: float = 0.0
    seconds: float | None = None


class TerminalView:
    """Draws on standard error.

    Args:
        title: of the run.
        steps: in their order.
        last_seconds: how long steps took when they last ran here.
        copy: is told all the same things; None: nobody.
        console: where to draw; None: standard error.
    """

    def __init__(
        self,
        title: str,
        steps: Sequence[str],
        last_seconds: Mapping[str, float],
        copy: View | None = None,
        console: Console | None = None,
    ) -> None:
        self._title = title
        self._rows = {step: _Row(text=_last_time(last_seconds.get(step))) for step in steps}
        self._copy = copy
        self._started = time.monotonic()
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
        )
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_PER_SECOND,
            # A library's own lines go above the table, but never into a pipe.
            redirect_stdout=copy is None,
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the table as it is at the end."""
        for row in self._rows.values():
            if row.state == "runs":
                row.state, row.seconds = "stopped", time.monotonic() - row.started
        self._live.stop()

    def bar(self, step: str, unit: str, total: int) -> "TerminalBar":
        """Show a bar under the table."""
        return TerminalBar(self._progress, step, unit, total)

    def skip(self, step: str, why: str) -> None:
        """Mark the step as skipped."""
        self._rows[step] = _Row("skipped", why)
        if self._copy is not None:
            self._copy.skip(step, why)

    def begin(self, step: str, why: str | None) -> None:
        """Mark the step as the one that runs."""
        last = self._rows[step].text
        self._rows[step] = _Row("runs", ", ".join(part for part in (why, last) if part), time.monotonic())
        if self._copy is not None:
            self._copy.begin(step, why)

    def end(self, step: str, summary: str, seconds: float) -> None:
        """Mark the step as done."""
        self._rows[step] = _Row("done", summary, seconds=seconds)
        if self._copy is not None:
            self._copy.end(step, summary, seconds)

    def _draw(self) -> RenderableType:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(overflow="fold")
        for step, row in self._rows.items():
            style = _STYLES[row.state]
            seconds = now - row.started if row.state == "runs" else row.seconds
            table.add_row(
                Text(step, style),
                Text(row.state, style),
                "" if seconds is None else _duration(seconds),
                Text(row.text, "dim" if row.state in ("waits", "skipped") else ""),
            )
        head = Text.assemble((self._title, "bold"), f"  {_duration(now - self._started)}")
        # Under the bar, which has no room for them in a narrow terminal.
        figures = [Text(f"  {task.fields['figures']}") for task in self._progress.tasks if task.fields["figures"]]
        return Group(head, Padding(table, (0, 0, 0, 2)), self._progress, *figures)


@dataclass
class TerminalBar:
    """A bar under the table."""

    progress: Progress
    step: str
    unit: str
    total: int
    n: int = 0
    _values: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._task = self.progress.add_task(self.step, total=self.total, unit=self.unit.strip(), figures="")

    def update(self, units: int = 1) -> None:
        """Move it on."""
        self.n += units
        self.progress.advance(self._task, units)

    def set_figures(self, **figures: float | None) -> None:
        """Show each figure, and the curve of its last values."""
        for name, value in figures.items():
            if value is not None:
                self._values.setdefault(name, []).append(value)
        if self._task not in self.progress.task_ids:
            return  # a trainer's last word comes after its last step
        shown = (f"{name} {values[-1]:.4g} {curve(values[-KEPT_VALUES:])}" for name, values in self._values.items())
        self.progress.update(self._task, figures="  ".join(shown))

    def close(self) -> None:
        """Take it away."""
        if self._task in self.progress.task_ids:
            self.progress.remove_task(self._task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _RateColumn(ProgressColumn):
    """Units a second, or seconds a unit where that is more."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        speed, unit = task.speed, str(task.fields["unit"])
        if not speed:
            return Text(unit)
        return Text(f"{speed:.1f} {unit}/s" if speed >= 1 else f"{1 / speed:.1f} s each, {unit}")


def curve(values: Sequence[float]) -> str:
    """Draw values as a line of blocks, the least lowest; nothing for a single one."""
    low, high = min(values), max(values)
    if low == high:
        return ""
    return "".join(_LEVELS[round((value - low) / (high - low) * (len(_LEVELS) - 1))] for value in values)


def _last_time(seconds: float | None) -> str:
    return "" if seconds is None or seconds < 1 else f"took {_duration(seconds)} last time"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{seconds:.1f} s"
