"""Requests that go on and on over threads, by the client as it is shipped, and what became of each."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from llmemb.client import NO_RETRIES, ApiError, Client, ClientError
from tests.support.waiting import DEADLINE_SECONDS, wait_until

Work = Callable[[Client, int], object]
"""Makes one request; it is given how many came before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    began: float
    """On the clock of `time.monotonic`."""
    ended: float
    error: ClientError | None

    @property
    def kind(self) -> tuple[int, str, bool]:
        """Of a problem: status, code, and whether it says when to come again."""
        assert isinstance(self.error, ApiError), repr(self.error)
        return self.error.status, self.error.code, self.error.retry_after_seconds is not None


class Load:
    """Keeps requests of several kinds going while its block runs, each kind in a thread of its own.

    Args:
        url: of the service.
        works: the kinds, by name.
        pause_seconds: between two requests of a kind.
        most: requests of a kind, past which it ends.
        api_key: where the service asks for one.
    """

    def __init__(
        self,
        url: str,
        works: Mapping[str, Work],
        *,
        pause_seconds: float = 0.01,
        most: int | None = None,
        api_key: str | None = None,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._most = most
        self._ended = threading.Event()
        self._answers: dict[str, list[Answer]] = {name: [] for name in works}
        # No retries: failures must show.
        self._client = Client(url, api_key=api_key, timeout_seconds=DEADLINE_SECONDS, retrying=NO_RETRIES)
        self._works = works
        self._threads = ThreadPoolExecutor(len(works))
        self._running: list[Future[None]] = []

    def _go_on(self, name: str, work: Work) -> None:
        answers = self._answers[name]
        while not self._ended.is_set() and len(answers) != self._most:
            began, error = time.monotonic(), None
            try:
                work(self._client, len(answers))
            except ClientError as failed:
                error = failed
            answers.append(Answer(began, time.monotonic(), error))
            self._ended.wait(self._pause_seconds)

    def answers(self, name: str) -> list[Answer]:
        """What there is of a kind so far, in order."""
        return list(self._answers[name])

    def failed(self, name: str) -> list[Answer]:
        """Those of them that failed."""
        return [answer for answer in self.answers(name) if answer.error is not None]

    def check_outage(
        self,
        *,
        spared: Iterable[str],
        hit: Iterable[str],
        kind: tuple[int, str, bool],
        began: float,
        ended: float,
    ) -> None:
        """Hold what failed to what an outage between two moments may cost: only some kinds, only so, and only then."""
        for name in spared:
            assert not self.failed(name), name
        for name in hit:
            kinds = {answer.kind for answer in self.failed(name)}
            assert kinds == {kind}, f"{name}: {kinds}"
            assert all(began < answer.ended and answer.began < ended for answer in self.failed(name)), name

    def wait_for(self, name: str, *, good: bool, since: float, number: int = 1) -> Answer:
        """Wait until so many requests of a kind that began after a moment were answered, well or not; the first."""

        def found() -> list[Answer]:
            self._raise_faults()
            answers = [answer for answer in self.answers(name) if answer.began >= since]
            return [answer for answer in answers if (answer.error is None) is good]

        wait_until(lambda: len(found()) >= number, f"{number} {'good' if good else 'failed'} answers to {name}")
        return found()[0]

    def wait_for_each(self, names: Iterable[str], *, good: bool, since: float, number: int = 1) -> list[Answer]:
        """Wait for several kinds."""
        return [self.wait_for(name, good=good, since=since, number=number) for name in names]

    def _raise_faults(self) -> None:
        for work in self._running:
            if work.done():
                work.result()

    def __enter__(self) -> Self:
        """Begin."""
        self._running = [self._threads.submit(self._go_on, *each) for each in self._works.items()]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End, when the requests under way are answered."""
        self._ended.set()
        self._threads.shutdown()
        self._client.close()
        if error is None:
            self._raise_faults()


def failing_parts(client: Client) -> set[str]:
    """The parts that do not work, as `/readyz` says; it answers 200 all the while."""
    ready = client.ready()
    parts = {part for part, result in ready.checks.items() if result != "ok"}
    assert ready.status == ("degraded" if parts else "ready")
    return parts


def show(config: pytest.Config, text: str) -> None:
    """Print a measured figure among pytest's own lines, where it is seen whether the test passes or not."""
    capturing, reporter = (config.pluginmanager.get_plugin(name) for name in ("capturemanager", "terminalreporter"))
    if capturing is not None and reporter is not None:
        with capturing.global_and_fixture_disabled():
            reporter.write_line(f"\n    {text}")
