"""A deadline passes when nothing else was set in time, however often it was moved."""

import asyncio

from llmemb_service.http.transport.connection import Deadline


def passed_after(*moves: tuple[float, float | None]) -> list[float]:
    """Set a deadline after so many seconds each, and return what it called by 0.5 s."""
    passed: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        deadline = Deadline(loop, passed.append)
        for at, seconds in moves:
            loop.call_later(at, deadline.set, seconds)
        await asyncio.sleep(0.5)
        deadline.end()

    asyncio.run(run())
    return passed


def test_deadline_passes_once() -> None:
    """With the seconds that were given."""
    assert passed_after((0, 0.02)) == [0.02]


def test_later_deadline_takes_the_place_of_an_earlier_one() -> None:
    """The timer of the first finds that the second is still to come."""
    assert passed_after((0, 0.1), (0.01, 0.2)) == [0.2]
    assert passed_after((0, 0.1), (0.01, 10.0)) == []


def test_earlier_deadline_takes_the_place_of_a_later_one() -> None:
    """It does not wait for the timer of the first."""
    assert passed_after((0, 10.0), (0.01, 0.02)) == [0.02]


def test_deadline_that_is_taken_back_never_passes() -> None:
    """Until another one is set."""
    assert passed_after((0, 0.1), (0.01, None)) == []
    assert passed_after((0, 0.1), (0.01, None), (0.02, 0.2)) == [0.2]


def test_ended_deadline_leaves_no_timer() -> None:
    """Nothing keeps its connection alive."""

    async def run() -> None:
        deadline = Deadline(asyncio.get_running_loop(), lambda _: None)
        deadline.set(10.0)
        timer = deadline._timer
        deadline.end()

        assert timer is not None
        assert timer.cancelled()

    asyncio.run(run())
