"""The sliding window: never much more than the limit in a minute, and a wait that is long enough."""

from hypothesis import example, given
from hypothesis import strategies as st

from llmemb_service.guard.rate_limits import WINDOW_SECONDS, RateLimiter, whole_seconds


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 30.0

    def __call__(self) -> float:
        return self.now


def test_requests_up_to_the_limit_pass() -> None:
    """The next one does not, and another caller is not touched by it."""
    limiter = RateLimiter(Clock())

    assert [limiter.count("a", 3).exceeded for _ in range(5)] == [False, False, False, True, True]
    assert not limiter.count("b", 3).exceeded


def test_a_minute_without_requests_forgets_all() -> None:
    """Two windows on, the whole limit is there again."""
    clock = Clock()
    limiter = RateLimiter(clock)
    assert not any(limiter.count("a", 3).exceeded for _ in range(3))
    clock.now += 2 * WINDOW_SECONDS

    assert [limiter.count("a", 3).exceeded for _ in range(4)] == [False, False, False, True]


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
            quota = limiter.count("a", limit)
        assert quota.exceeded
        assert 0 < whole_seconds(quota.reset_seconds) <= 2 * WINDOW_SECONDS + 1
        clock.now += whole_seconds(quota.reset_seconds)
        assert not limiter.count("a", limit).exceeded


@given(limit=st.integers(1, 20), gaps=st.lists(st.floats(0, 40), min_size=1, max_size=20), start=st.floats(0, 1000))
def test_remaining_is_what_passes_now(limit: int, gaps: list[float], start: float) -> None:
    """As many requests as it says, and not one more; a refusal is not counted."""
    clock = Clock()
    clock.now = start
    limiter = RateLimiter(clock)
    for gap in gaps:
        clock.now += gap
        quota = limiter.count("a", limit)

    assert quota.limit == limit
    assert not any(limiter.count("a", limit).exceeded for _ in range(quota.remaining))
    assert limiter.count("a", limit).exceeded
    assert limiter.count("a", limit).remaining == 0


@given(limit=st.integers(1, 20), number=st.integers(1, 20), start=st.floats(0, 1000))
def test_whole_limit_is_there_after_the_reset(limit: int, number: int, start: float) -> None:
    """And no more than that."""
    clock = Clock()
    clock.now = start
    limiter = RateLimiter(clock)
    for _ in range(min(number, limit)):
        quota = limiter.count("a", limit)
    clock.now += whole_seconds(quota.reset_seconds)

    assert not any(limiter.count("a", limit).exceeded for _ in range(limit))
    assert limiter.count("a", limit).exceeded


@given(limit=st.integers(1, 20), gaps=st.lists(st.floats(0, 15), min_size=1, max_size=50))
def test_steady_rate_stays_under_the_limit(limit: int, gaps: list[float]) -> None:
    """No whole minute of the clock passes more than the limit."""
    clock = Clock()
    limiter = RateLimiter(clock)
    passed: dict[int, int] = {}
    for gap in gaps:
        clock.now += gap
        if not limiter.count("a", limit).exceeded:
            minute = int(clock.now // WINDOW_SECONDS)
            passed[minute] = passed.get(minute, 0) + 1

    assert all(number <= limit for number in passed.values())


def test_memory_is_bounded() -> None:
    """The caller that has not asked for the longest time is forgotten, and so has its whole limit again."""
    limiter = RateLimiter(Clock(), max_callers=2)
    for caller in ("a", "b", "c"):
        assert not limiter.count(caller, 1).exceeded

    assert limiter.count("c", 1).exceeded
    assert limiter.count("b", 1).exceeded
    assert not limiter.count("a", 1).exceeded
