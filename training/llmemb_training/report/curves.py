"""Learning curves, read from the run's TensorBoard logs and drawn as SVG charts of a fixed size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 38
MOST_POINTS = 240
"""Maximum number of points per line; longer curves are averaged in equal pieces."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on an axis."""

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line, with its step and value."""

    x: float
    y: float
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `tone` names its colour, `label` what it shows."""

    label: str
    tone: str
    dots: tuple[Dot, ...]
    best: Dot | None

    @property
    def path(self) -> str:
        """The SVG path."""
        return "M" + "L".join(f"{dot.x:.1f} {dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart, ready to be drawn."""

    title: str
    x_name: str
    y_name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]

    @property
    def rows(self) -> list[tuple[int, list[float | None]]]:
        """The data as a table: each step, and the value of every line at this step or None."""
        steps = sorted({dot.step for line in self.lines for dot in line.dots})
        values = [{dot.step: dot.value for dot in line.dots} for line in self.lines]
        return [(step, [of_line.get(step) for of_line in values]) for step in steps]

    width = WIDTH
    height = HEIGHT
    left = LEFT
    right = WIDTH - RIGHT
    top = TOP
    bottom = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Series:
    """The data of a line."""

    label: str
    tone: str
    points: Sequence[tuple[int, float]]


def line_chart(title: str, x_name: str, y_name: str, series: Sequence[Series], *, mark_highest: bool) -> LineChart:
    """Lay out lines in a chart.

    Args:
        title: title of the chart.
        x_name: label of the x axis, such as `epoch`.
        y_name: label of the y axis.
        series: at least one series, each with at least one point.
        mark_highest: whether to mark the highest point of each line.
    """
    thinned = [(one, _thin(one.points)) for one in series]
    steps = [step for _, points in thinned for step, _ in points]
    values = [value for _, points in thinned for _, value in points]
    x_low, x_high = min(steps), max(steps)
    x_marks = [mark for mark in nice_ticks(x_low, x_high, 6) if mark == int(mark) and x_low <= mark <= x_high]
    y_marks = nice_ticks(min(values), max(values), 5)
    y_low, y_high = y_marks[0], y_marks[-1]

    def x_of(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((step - x_low) / (x_high - x_low) if x_high > x_low else 0.5)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - y_low) / (y_high - y_low)

    lines = []
    for one, points in thinned:
        dots = tuple(Dot(x_of(step), y_of(value), step, value) for step, value in points)
        best = max(dots, key=lambda dot: dot.value) if mark_highest else None
        lines.append(Line(one.label, one.tone, dots, best))
    return LineChart(
        title=title,
        x_name=x_name,
        y_name=y_name,
        x_ticks=tuple(Tick(x_of(mark), f"{int(mark):,}") for mark in x_marks),
        y_ticks=tuple(Tick(y_of(mark), _short(mark, y_marks)) for mark in y_marks),
        lines=tuple(lines),
    )


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Return evenly spaced round numbers that enclose `low` to `high`, at least two and at most `most` + 2."""
    span = high - low if high > low else max(abs(high), 1.0) * 0.1
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _short(mark: float, marks: Sequence[float]) -> str:
    decimals = next(count for count in range(13) if all(round(other, count) == other for other in marks))
    return f"{mark:,.{decimals}f}"


def _thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MOST_POINTS:
        return list(points)
    pieces = [
        points[index * len(points) // MOST_POINTS : (index + 1) * len(points) // MOST_POINTS]
        for index in range(MOST_POINTS)
    ]
    return [(piece[-1][0], sum(value for _, value in piece) / len(piece)) for piece in pieces]


Points = tuple[tuple[int, float], ...]
"""(step, value), the steps ascending."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A scalar during one training.

    Args:
        name: name of the training: the path of its log folder.
        points: value at each epoch or step.
    """

    name: str
    points: Points


def read_curves(logs: Path, tag: str) -> tuple[Curve, ...]:
    """Read a scalar of every training that logged it, sorted by name.

    Args:
        logs: folder with the log folders of the trainings, at any depth.
        tag: tag of the scalar, such as `loss/train`.
    """
    folders = sorted({path.parent for path in logs.rglob("events.out.tfevents.*")})
    curves = (Curve(folder.relative_to(logs).as_posix(), _merge(folder, tag)) for folder in folders)
    return tuple(curve for curve in curves if curve.points)


def _merge(folder: Path, tag: str) -> Points:
    """Merge the logs of a training that was resumed or restarted.

    A later log replaces all steps of an earlier one from its first step on, because these were lost.
    """
    merged: dict[int, float] = {}
    for points in sorted(_read_logs(folder, tag), key=lambda log: log[0]):
        first = points[1][0][0]
        merged = {step: value for step, value in merged.items() if step < first} | dict(points[1])
    return tuple(sorted(merged.items()))


def _read_logs(folder: Path, tag: str) -> Iterator[tuple[float, Points]]:
    """Yield the start time and the points of each log with the scalar."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        log = EventAccumulator(str(path), size_guidance={"scalars": 0})
        log.Reload()
        if tag in log.Tags()["scalars"]:
            events = log.Scalars(tag)
            yield events[0].wall_time, tuple((int(event.step), float(event.value)) for event in events)
