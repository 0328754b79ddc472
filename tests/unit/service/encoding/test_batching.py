import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from llmemb_service.encoding.batching import Array, Batcher
from llmemb_service.encoding.frames import BatchDone, FromEncoder, Job, JobDone, JobFailed
from tests.support.waiting import wait_until


class LengthModel:
    """Embeds a prompt as its length; a word is a token. Keeps its batches, and waits at the gate."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        if "untokenizable" in prompts:
            raise ValueError("untokenizable")
        return [[1] * len(prompt.split()) for prompt in prompts]

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        self.entered.set()
        self.gate.wait()
        self.batches.append(list(prompts))
        if "bad" in prompts:
            raise ValueError("bad prompt")
        return np.array([[len(prompt)] for prompt in prompts], dtype=np.float32)


@dataclass
class Running:
    """A batcher at work, and all that it said."""

    model: LengthModel
    batcher: Batcher
    said: list[tuple[FromEncoder, bytes]] = field(default_factory=list)

    def hold(self) -> None:
        """Keep it busy with one prompt until the gate opens."""
        self.model.gate.clear()
        self.batcher.submit(Job(id=0, prompts=["held"]))
        self.model.entered.wait()

    def wait_for(self, *job_ids: int) -> None:
        """Wait until these jobs are done or failed."""
        wait_until(lambda: {message.id for message in self.ended()} >= set(job_ids), f"the jobs {job_ids} end")

    def ended(self) -> list[JobDone | JobFailed]:
        return [message for message, _ in self.said if isinstance(message, JobDone | JobFailed)]

    def vectors(self, job_id: int) -> list[float]:
        payloads = [payload for message, payload in self.said if isinstance(message, JobDone) and message.id == job_id]
        return np.frombuffer(payloads[0], dtype="<f4").tolist()


@contextmanager
def running(batch_tokens: int = 8) -> Iterator[Running]:
    said: list[tuple[FromEncoder, bytes]] = []
    batcher = Batcher(batch_tokens=batch_tokens, send=lambda message, payload: said.append((message, payload)))
    run = Running(LengthModel(), batcher, said)
    thread = threading.Thread(target=batcher.run, args=(run.model,))
    thread.start()
    try:
        yield run
    finally:
        run.model.gate.set()
        batcher.close()
        thread.join()


def test_batcher_answers_in_the_order_of_the_prompts() -> None:
    """Batches are formed by length, the answer is in the caller's order, with the tokens of each prompt."""
    with running() as run:
        run.batcher.submit(Job(id=1, prompts=["a", "a b c d e f g", "a b", "a b c"]))
        run.wait_for(1)

        done = run.ended()[0]
        assert run.vectors(1) == [1, 13, 3, 5]
        assert isinstance(done, JobDone)
        assert done.tokens == [1, 7, 2, 3]
        assert min(done.queue_seconds, done.tokenise_seconds, done.encode_seconds) >= 0


def test_batcher_bounds_batches_by_tokens_with_padding() -> None:
    """No batch has more than `batch_tokens`, but for a single prompt that alone has more."""
    with running(batch_tokens=8) as run:
        run.batcher.submit(Job(id=1, prompts=[*(["a b c"] * 5), "a " * 20, *(["a"] * 9)]))
        run.wait_for(1)

        sizes = [len(batch) * max(len(prompt.split()) for prompt in batch) for batch in run.model.batches]
        told = [message for message, _ in run.said if isinstance(message, BatchDone)]

    assert sorted(sizes)[-1] == 20
    assert all(size <= 8 for size in sorted(sizes)[:-1])
    assert [message.tokens for message in told] == sizes
    assert sum(message.items for message in told) == 15


def test_batcher_shares_a_batch_between_jobs() -> None:
    """What came in while the model was busy goes through it together."""
    with running() as run:
        run.hold()
        for job_id, prompt in enumerate(("x", "y", "z"), start=1):
            run.batcher.submit(Job(id=job_id, prompts=[prompt]))
        run.model.gate.set()
        run.wait_for(0, 1, 2, 3)

    assert run.model.batches == [["held"], ["x", "y", "z"]]


def test_small_job_does_not_wait_behind_a_large_one() -> None:
    """It goes before what a large job has left; of equal jobs the first one goes first."""
    with running(batch_tokens=2) as run:
        run.hold()
        run.batcher.submit(Job(id=1, prompts=["large"] * 6))
        run.batcher.submit(Job(id=2, prompts=["first"] * 2))
        run.batcher.submit(Job(id=3, prompts=["second"] * 2))
        run.model.gate.set()
        run.wait_for(0, 1, 2, 3)

    assert run.model.batches == [["held"], ["first"] * 2, ["second"] * 2, *[["large"] * 2] * 3]


def test_batcher_drops_what_was_cancelled() -> None:
    """A cancelled job never reaches the model; a late cancellation does nothing."""
    with running() as run:
        run.hold()
        run.batcher.submit(Job(id=1, prompts=["left 1", "left 2"]))
        run.batcher.submit(Job(id=2, prompts=["stayed 1", "stayed 2"]))
        run.batcher.cancel(1)
        run.model.gate.set()
        run.wait_for(0, 2)
        run.batcher.cancel(2)
        run.batcher.submit(Job(id=3, prompts=["next"]))
        run.wait_for(3)

    assert run.model.batches == [["held"], ["stayed 2", "stayed 1"], ["next"]]
    assert {message.id for message in run.ended()} == {0, 2, 3}


def test_batcher_drops_the_rest_of_a_job_that_is_cancelled_at_work() -> None:
    """The batch that runs ends, the job's other prompts wait no more."""
    with running(batch_tokens=2) as run:
        run.model.gate.clear()
        run.batcher.submit(Job(id=1, prompts=["a b", "c d", "e f"]))
        run.model.entered.wait()
        run.batcher.cancel(1)
        run.model.gate.set()
        run.batcher.submit(Job(id=2, prompts=["next"]))
        run.wait_for(2)

    assert run.model.batches == [["e f"], ["next"]]


@pytest.mark.parametrize("prompt", ["bad", "untokenizable"])
def test_batcher_fails_only_the_jobs_of_a_failing_batch(prompt: str) -> None:
    """The others, and those that come after, are answered; what is said names the error and not the prompt."""
    with running(batch_tokens=1) as run:
        run.hold()
        run.batcher.submit(Job(id=1, prompts=[prompt]))
        run.batcher.submit(Job(id=2, prompts=["other"]))
        run.model.gate.set()
        run.wait_for(0, 1, 2)
        run.batcher.submit(Job(id=3, prompts=["later"]))
        run.wait_for(3)

    outcomes = {message.id: message for message in run.ended()}
    assert outcomes[1] == JobFailed(id=1, error="ValueError")
    assert all(isinstance(outcomes[job_id], JobDone) for job_id in (0, 2, 3))


def test_batcher_closed_drops_what_still_waits() -> None:
    """Closing ends after the running batch."""
    with running() as run:
        run.hold()
        run.batcher.submit(Job(id=1, prompts=["waiting"]))
        run.batcher.close()

    assert run.model.batches == [["held"]]
