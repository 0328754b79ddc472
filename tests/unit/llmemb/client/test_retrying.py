"""When a client tries again, and how long it waits."""

from collections.abc import Callable

import httpx2
import pytest

from llmemb.client.calls import Repeat
from llmemb.client.errors import ApiError, api_error
from llmemb.client.retrying import NO_RETRIES, Attempts, Retrier, Retrying


def problem(status: int, retry_after: str | None = None) -> ApiError:
    return api_error(httpx2.Response(status, headers={"Retry-After": retry_after} if retry_after else {}))


def attempts(retrying: Retrying, repeat: Repeat = Repeat.ALWAYS, clock: Callable[[], float] = lambda: 0.0) -> Attempts:
    return Retrier(retrying, clock).attempts(repeat)


REFUSED = [problem(429)]
MAY_HAVE_BEGUN = [problem(503), httpx2.ReadError("broken"), httpx2.ReadTimeout("late"), httpx2.RemoteProtocolError("?")]
NOT_SENT = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("late"), httpx2.PoolTimeout("full")]
LASTING = [
    *(problem(status) for status in (400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 502, 504)),
    httpx2.UnsupportedProtocol("ftp"),
    httpx2.LocalProtocolError("bad header"),
]


def retried(failure: ApiError | httpx2.RequestError, repeat: Repeat) -> bool:
    tried = attempts(Retrying(), repeat)
    if isinstance(failure, ApiError):
        return tried.wait_after_problem(failure) is not None
    return tried.wait_after_failure(failure) is not None


@pytest.mark.parametrize("failure", [*REFUSED, *MAY_HAVE_BEGUN, *NOT_SENT, *LASTING], ids=str)
def test_failure_is_retried_where_that_is_safe_and_may_help(failure: ApiError | httpx2.RequestError) -> None:
    """A call that must not be done twice only after a refusal; a failure that lasts never."""
    passes = failure not in LASTING
    begun = failure in MAY_HAVE_BEGUN

    assert retried(failure, Repeat.ALWAYS) == passes
    assert retried(failure, Repeat.IF_REFUSED) == (passes and not begun)
    assert not retried(failure, Repeat.NEVER)


def test_waits_double_up_to_the_longest() -> None:
    """Each is drawn below its bound, and the same seed draws the same."""
    retrying = Retrying(max_retries=8, first_wait_seconds=1, longest_wait_seconds=8, seed=7)
    waits, again = (
        [tried.wait_after_problem(problem(503)) for _ in range(9)] for tried in [attempts(retrying), attempts(retrying)]
    )

    assert waits == again
    assert waits[8] is None
    assert all(0 <= wait <= bound for wait, bound in zip(waits[:8], [1, 2, 4, 8, 8, 8, 8, 8], strict=True))
    assert len(set(waits)) == 9


def test_waits_use_all_of_their_bound() -> None:
    """Clients that failed together are spread over the whole of it."""
    tried = attempts(
        Retrying(max_retries=1000, first_wait_seconds=8, longest_wait_seconds=8, deadline_seconds=1e9, seed=1)
    )
    waits = [tried.wait_after_problem(problem(429)) for _ in range(1000)]

    assert min(waits) < 0.1
    assert max(waits) > 7.9


def test_retry_after_comes_before_the_wait() -> None:
    """Never sooner than asked, and not all at the same time."""
    tried = attempts(Retrying(first_wait_seconds=0.5, seed=1))

    assert 3 < tried.wait_after_problem(problem(429, "3")) < 3.5


def test_no_attempt_begins_after_the_deadline() -> None:
    """Neither late, nor after a wait that would end late."""
    now = 100.0
    tried = attempts(Retrying(deadline_seconds=10, first_wait_seconds=0, seed=1), clock=lambda: now)

    assert tried.wait_after_problem(problem(503, "10")) == 10
    assert tried.wait_after_problem(problem(503, "11")) is None
    now = 110.5
    assert tried.wait_after_problem(problem(503)) is None


def test_no_retries_is_one_attempt() -> None:
    """The first failure is the last."""
    assert attempts(NO_RETRIES).wait_after_problem(problem(429, "0")) is None


@pytest.mark.parametrize("name", ["max_retries", "deadline_seconds", "first_wait_seconds", "longest_wait_seconds"])
def test_bound_below_zero_is_refused(name: str) -> None:
    """By its name."""
    with pytest.raises(ValueError, match=f"{name} is -1"):
        Retrying(**{name: -1})
