"""`llmemb_training.report.curves`: round ticks that enclose the values, and points at their positions."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_training.report.curves import HEIGHT, LEFT, MOST_POINTS, WIDTH, Series, line_chart, nice_ticks

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


@given(numbers, numbers, st.integers(2, 8))
def test_ticks_enclose_and_are_even(first: float, second: float, most: int) -> None:
    """Ticks enclose both ends, are evenly spaced, and few."""
    low, high = min(first, second), max(first, second)
    ticks = nice_ticks(low, high, most)
    steps = [after - before for before, after in pairwise(ticks)]

    assert 2 <= len(ticks) <= most + 2
    assert ticks[0] <= low + 1e-8 * steps[0]
    assert ticks[-1] >= high - 1e-8 * steps[0]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.06, 0.1207, 5, [0.06, 0.08, 0.1, 0.12, 0.14]),
        (1, 13, 6, [0, 2, 4, 6, 8, 10, 12, 14]),
        (0, 100, 4, [0, 25, 50, 75, 100]),
        (0, 0, 4, [0, 0.025]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, ticks: list[float]) -> None:
    """The distance of ticks is 1, 2, 2.5 or 5 times a power of ten."""
    assert nice_ticks(low, high, most) == ticks


def test_lines_rise_with_their_values() -> None:
    """The first step is at the left, the last at the right; a larger value is higher up; the highest is marked."""
    chart = line_chart("c", "epoch", "v", [Series("a", "c0", [(1, 0.1), (2, 0.3), (3, 0.2)])], mark_highest=True)
    first, second, third = chart.lines[0].dots

    assert (first.x, third.x) == (LEFT, chart.right)
    assert second.y < third.y < first.y
    assert all(0 < dot.y < HEIGHT and 0 < dot.x < WIDTH for dot in chart.lines[0].dots)
    assert chart.lines[0].best is second
    assert chart.lines[0].path.startswith(f"M{LEFT:.1f} ")
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]
    assert [tick.label for tick in chart.y_ticks] == ["0.10", "0.15", "0.20", "0.25", "0.30"]


def test_table_has_every_step_of_every_line() -> None:
    """A line that ends earlier leaves its cells empty."""
    series = [Series("a", "c0", [(1, 0.1), (2, 0.3)]), Series("b", "c1", [(2, 0.5)])]
    chart = line_chart("c", "epoch", "v", series, mark_highest=False)

    assert chart.rows == [(1, [0.1, None]), (2, [0.3, 0.5])]
    assert chart.lines[0].best is None


def test_long_line_is_averaged() -> None:
    """A line with too many points is reduced to the maximum, with the same mean."""
    points = [(step, float(step % 10)) for step in range(1, 10 * MOST_POINTS + 1)]
    dots = line_chart("c", "step", "v", [Series("a", "c0", points)], mark_highest=False).lines[0].dots

    assert len(dots) == MOST_POINTS
    assert dots[-1].step == points[-1][0]
    assert sum(dot.value for dot in dots) / len(dots) == pytest.approx(4.5)


def test_single_point_is_in_the_middle() -> None:
    """A training of one epoch has a chart too."""
    dot = line_chart("c", "epoch", "v", [Series("a", "c0", [(1, 0.5)])], mark_highest=True).lines[0].dots[0]

    assert dot.x == (LEFT + WIDTH - 14) / 2
