"""The encoder's work in its own process: prompts of all jobs, in batches bounded by tokens, through one encoder.

`h` the width of what the encoder gives for a prompt. Jobs come in from one thread, another one runs the batches.
"""

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.encoding.frames import BatchDone, FromEncoder, Job, JobDone, JobFailed

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


class LanguageModel(Protocol):
    """What the batches go through; `llmemb.encoder.encoder.Encoder` is one."""

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each prompt."""
        ...

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        """Return a vector for each prompt, `(N, h)`."""
        ...


@dataclass(eq=False, slots=True)
class _Work:
    """A job under way."""

    job: Job
    arrived: float
    tokenise_seconds: float = 0.0
    started: float | None = None
    """When its first batch began."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each prompt."""
    waiting: list[int] = field(default_factory=list)
    """Places of the prompts that no batch has taken; the longest is the last."""
    vectors: dict[int, Array] = field(default_factory=dict)
    """Place of a prompt -> its vector."""


class Batcher:
    """Jobs in, messages out; the one with the fewest prompts left first, of equals the one that came first.

    So what a shopper waits for does not stand behind a whole catalogue that is embedded again.

    Args:
        batch_tokens: bound on the tokens of a batch, padding included; a single longer prompt goes alone.
        send: told what became of jobs and batches, by the thread of `run`.
    """

    def __init__(self, *, batch_tokens: int, send: Callable[[FromEncoder, bytes], object]) -> None:
        self._batch_tokens = batch_tokens
        self._send = send
        self._changed = threading.Condition()
        self._incoming: deque[_Work] = deque()
        self._cancelled: set[int] = set()
        self._closed = False
        self._works: list[_Work] = []  # of `run` alone: tokenised and in turn

    def submit(self, job: Job) -> None:
        """Take a job."""
        with self._changed:
            self._incoming.append(_Work(job, time.monotonic()))
            self._changed.notify()

    def cancel(self, job_id: int) -> None:
        """Drop what no batch has taken of a job; one that is finished, or was never here, is passed over."""
        with self._changed:
            self._cancelled.add(job_id)
            self._changed.notify()

    def close(self) -> None:
        """Let `run` return after its batch."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self, model: LanguageModel) -> None:
        """Let jobs go through `model`, until closed."""
        while self._take_in(model):
            batch, tokens = self._next_batch()
            if batch:
                self._embed(model, batch, tokens)

    def _take_in(self, model: LanguageModel) -> bool:
        """Wait for work, take it over and drop what was cancelled; false when closed."""
        with self._changed:
            while not (self._incoming or self._works or self._cancelled or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            incoming, cancelled = list(self._incoming), self._cancelled
            self._incoming.clear()
            # A job comes before its cancelling, so whatever this names is here or gone.
            self._cancelled = set()
        self._works = [work for work in self._works if work.job.id not in cancelled]
        self._works += [work for work in incoming if work.job.id not in cancelled and self._tokenise(model, work)]
        self._works.sort(key=lambda work: len(work.waiting))
        return True

    def _tokenise(self, model: LanguageModel, work: _Work) -> bool:
        began = time.monotonic()
        try:
            work.lengths = [len(tokens) for tokens in model.tokenize(work.job.prompts)]
        except Exception as error:  # noqa: BLE001  its own caller hears of it, the others go on
            self._failed(work, error)
            return False
        work.tokenise_seconds = time.monotonic() - began
        # Like lengths together, so that a batch holds little padding.
        work.waiting = sorted(range(len(work.lengths)), key=work.lengths.__getitem__)
        return True

    def _next_batch(self) -> tuple[list[tuple[_Work, int]], int]:
        """Take the next prompts, each as its work and place, and count their tokens with padding."""
        batch: list[tuple[_Work, int]] = []
        longest = 0
        for work in self._works:
            while work.waiting:
                width = max(longest, work.lengths[work.waiting[-1]])
                if batch and width * (len(batch) + 1) > self._batch_tokens:
                    return batch, longest * len(batch)
                longest = width
                batch.append((work, work.waiting.pop()))
        return batch, longest * len(batch)

    def _embed(self, model: LanguageModel, batch: list[tuple[_Work, int]], tokens: int) -> None:
        began = time.monotonic()
        for work, _ in batch:
            work.started = work.started or began
        try:
            vectors = model.encode([work.job.prompts[place] for work, place in batch], self._batch_tokens)
        except Exception as error:  # noqa: BLE001  those of this batch hear of it, the others go on
            failed = list(dict.fromkeys(work for work, _ in batch))
            self._works = [work for work in self._works if work not in failed]
            for work in failed:
                self._failed(work, error)
            return
        ended = time.monotonic()
        self._send(BatchDone(items=len(batch), tokens=tokens, seconds=ended - began), b"")
        for (work, place), vector in zip(batch, vectors, strict=True):
            work.vectors[place] = vector
        for work in [work for work in self._works if len(work.vectors) == len(work.lengths)]:
            self._works.remove(work)
            self._done(work, ended)

    def _done(self, work: _Work, ended: float) -> None:
        started = ended if work.started is None else work.started
        message = JobDone(
            id=work.job.id,
            tokens=work.lengths,
            queue_seconds=max(0.0, started - work.arrived - work.tokenise_seconds),
            tokenise_seconds=work.tokenise_seconds,
            encode_seconds=ended - started,
        )
        vectors = np.stack([work.vectors[place] for place in range(len(work.lengths))])
        self._send(message, vectors.astype("<f4").tobytes())

    def _failed(self, work: _Work, error: Exception) -> None:
        # Where it failed, but not its text: that may hold the prompt.
        steps = traceback.extract_tb(error.__traceback__)
        places = " > ".join(f"{step.name}:{step.lineno}" for step in steps)
        logger.error("a job failed: %s in %s", type(error).__name__, places)
        self._send(JobFailed(id=work.job.id, error=type(error).__name__), b"")
