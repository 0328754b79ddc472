"""What a person sees of a run: in a terminal a table that fills itself, elsewhere one line for each step.

Steps draw bars and know nothing of who looks on; a run's view is chosen once, by `watching`.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self


class Bar(Protocol):
    """How far a part of a step is; a context manager."""

    @property
    def n(self) -> int:
        """Units that are done."""

    def update(self, units: int = 1) -> object:
        """Tell of further units that are done."""

    def set_figures(self, **figures: float | None) -> None:
        """Show figures beside the bar, by name; None is not shown."""

    def close(self) -> None:
        """Take the bar away."""

    def __enter__(self) -> Self:
        """Return the bar itself."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close it."""


class View(Protocol):
    """Who is told of a run."""

    def bar(self, step: str, unit: str, total: int) -> Bar:
        """Show a bar."""

    def skip(self, step: str, why: str) -> None:
        """Tell that a step has nothing to do."""

    def begin(self, step: str, why: str | None) -> None:
        """Tell that a step begins; `why` where it is not for the first time."""

    def end(self, step: str, summary: str, seconds: float) -> None:
        """Tell that a step is done."""


class SilentBar:
    """A bar that nobody sees."""

    def __init__(self) -> None:
        self.n = 0

    def update(self, units: int = 1) -> None:
        """Count."""
        self.n += units

    def set_figures(self, **figures: float | None) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing is there to take away."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class PlainView:
    """One line on standard output for each thing that is told, and no bars: for pipes and logs."""

    def bar(self, step: str, unit: str, total: int) -> SilentBar:  # noqa: ARG002  # of a bar that nobody sees
        """Show nothing."""
        return SilentBar()

    def skip(self, step: str, why: str) -> None:
        """Write the line."""
        say(step, why)

    def begin(self, step: str, why: str | None) -> None:
        """Write a line where there is something to say."""
        if why is not None:
            say(step, why)

    def end(self, step: str, summary: str, seconds: float) -> None:
        """Write the line."""
        say(step, f"{summary} ({seconds:.1f} s)")


_PLAIN = PlainView()
_VIEW: ContextVar[View] = ContextVar("view", default=_PLAIN)


@contextmanager
def watching(title: str, steps: Sequence[str], last_seconds: Mapping[str, float]) -> Iterator[View]:
    """Show a run while it lasts.

    Args:
        title: of the run.
        steps: that there are, in their order.
        last_seconds: how long steps took when they last ran here.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        yield _PLAIN
        return
    from training.terminal_view import TerminalView

    # Where standard output is a pipe, its lines are those that a run without a terminal has.
    copy = None if sys.stdout.isatty() else _PLAIN
    with TerminalView(title, steps, last_seconds, copy) as view:
        token = _VIEW.set(view)
        try:
            yield view
        finally:
            _VIEW.reset(token)


def bar(step: str, unit: str, total: int) -> Bar:
    """Return a bar of the run's view.

    Args:
        step: what the bar is called.
        unit: what is counted, in the plural.
        total: how many there are.
    """
    return _VIEW.get().bar(step, unit, total)


def say(step: str, line: str) -> None:
    """Print one line of a step on standard output."""
    sys.stdout.write(f"{step:<10}{line}\n")
    sys.stdout.flush()
