"""The sliding window: never much more than the limit in a minute, and a wait that is long enough."""

from hypothesis import example, given
from hypothesis import strategies as st

from service.guard.rate_limiter import WINDOW_SECONDS, RateLimiter, whole_seconds


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 30.0

    def __call__(self) -> float:
        return self.now


def test_requests_up_to_the_limit_pass() -> None:
    """The next one does not, and another caller is not touched by it."""
    limiter = RateLimiter(Clock())

    assert [limiter.take("a", 3) is None for _ in range(5)] == [True, True, True, False, False]
    assert limiter.take("b", 3) is None


def test_a_minute_without_requests_forgets_all() -> None:
    """Two windows on, the whole limit is there again."""
    clock = Clock()
    limiter = RateLimiter(clock)
    assert all(limiter.take("a", 3) is None for _ in range(3))
    clock.now += 2 * WINDOW_SECONDS

    assert [limiter.take("a", 3) is None for _ in range(4)] == [True, True, True, False]


@given(
    limit=st.integers(1, 20), gaps=st.lists(st.floats(0, 90), min_size=1, max_size=10), start=st.floats(0, 1_000_000)
)
@example(limit=15, gaps=[0.0, 0.0], start=0.0)  # its wait of three seconds is 2.999... in floats
def test_wait_is_long_enough(limit: int, gaps: list[float], start: float) -> None:
    """What was refused passes after the seconds of `Retry-After`, which are at most two minutes."""
    clock = Clock()
    clock.now = start
    limiter = RateLimiter(clock)
    for gap in gaps:
        clock.now += gap
        for _ in range(limit + 1):
            wait = limiter.take("a", limit)
        assert wait is not None
        assert 0 < whole_seconds(wait) <= 2 * WINDOW_SECONDS + 1
        clock.now += whole_seconds(wait)
        assert limiter.take("a", limit) is None


@given(limit=st.integers(1, 20), gaps=st.lists(st.floats(0, 15), min_size=1, max_size=50))
def test_steady_rate_stays_under_the_limit(limit: int, gaps: list[float]) -> None:
    """No whole minute of the clock passes more than the limit."""
    clock = Clock()
    limiter = RateLimiter(clock)
    passed: dict[int, int] = {}
    for gap in gaps:
        clock.now += gap
        if limiter.take("a", limit) is None:
            minute = int(clock.now // WINDOW_SECONDS)
            passed[minute] = passed.get(minute, 0) + 1

    assert all(number <= limit for number in passed.values())


def test_memory_is_bounded() -> None:
    """The caller that has not asked for the longest time is forgotten, and so has its whole limit again."""
    limiter = RateLimiter(Clock(), max_callers=2)
    for caller in ("a", "b", "c"):
        assert limiter.take(caller, 1) is None

    assert limiter.take("c", 1) is not None
    assert limiter.take("b", 1) is not None
    assert limiter.take("a", 1) is None
