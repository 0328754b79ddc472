"""Batching in the worker process: the prompts of all jobs, in batches bounded by tokens, through one encoder.

`h` is the encoder's width. One thread submits jobs, another one runs the batches.
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

from llmemb_service.encoding.frames import BatchDone, FromEncoder, Job, JobDone, JobFailed

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


class LanguageModel(Protocol):
    """The model that embeds batches; `llmemb.encoder.encoder.Encoder` implements it."""

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each prompt."""
        ...

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        """Return one vector per prompt, `(N, h)`."""
        ...


@dataclass(eq=False, slots=True)
class _Work:
    """A job that is not finished."""

    job: Job
    arrived: float
    tokenise_seconds: float = 0.0
    started: float | None = None
    """When the job's first batch began."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each prompt."""
    waiting: list[int] = field(default_factory=list)
    """Indices of the prompts that are in no batch yet; the longest prompt is last."""
    vectors: dict[int, Array] = field(default_factory=dict)
    """Index of a prompt -> its vector."""


class Batcher:
    """Runs jobs in batches, the job with the fewest remaining prompts first; ties go to the earlier job.

    So a shopper's request does not queue behind a whole catalogue that is being embedded again.

    Args:
        batch_tokens: maximum number of tokens in a batch, padding included; a single longer prompt gets its own batch.
        send: called with the results of jobs and batches, in the thread of `run`.
    """

    def __init__(self, *, batch_tokens: int, send: Callable[[FromEncoder, bytes], object]) -> None:
        self._batch_tokens = batch_tokens
        self._send = send
        self._changed = threading.Condition()
        self._incoming: deque[_Work] = deque()
        self._cancelled: set[int] = set()
        self._closed = False
        self._works: list[_Work] = []  # used by `run` only: tokenised jobs in scheduling order

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._changed:
            self._incoming.append(_Work(job, time.monotonic()))
            self._changed.notify()

    def cancel(self, job_id: int) -> None:
        """Drop the prompts of a job that are in no batch yet; a finished or unknown job is ignored."""
        with self._changed:
            self._cancelled.add(job_id)
            self._changed.notify()

    def close(self) -> None:
        """Make `run` return after the current batch."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self, model: LanguageModel) -> None:
        """Embed jobs with `model` until closed."""
        while self._collect_jobs(model):
            batch, tokens = self._next_batch()
            if batch:
                self._embed(model, batch, tokens)

    def _collect_jobs(self, model: LanguageModel) -> bool:
        """Wait for work, move new jobs to the schedule and drop cancelled ones; return false when closed."""
        with self._changed:
            while not (self._incoming or self._works or self._cancelled or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            incoming, cancelled = list(self._incoming), self._cancelled
            self._incoming.clear()
            # A job arrives before its cancellation, so every id in `cancelled` is known here or already finished.
            self._cancelled = set()
        self._works = [work for work in self._works if work.job.id not in cancelled]
        self._works += [work for work in incoming if work.job.id not in cancelled and self._tokenise(model, work)]
        self._works.sort(key=lambda work: len(work.waiting))
        return True

    def _tokenise(self, model: LanguageModel, work: _Work) -> bool:
        began = time.monotonic()
        try:
            work.lengths = [len(tokens) for tokens in model.tokenize(work.job.prompts)]
        except Exception as error:  # noqa: BLE001  only this job fails
            self._failed(work, error)
            return False
        work.tokenise_seconds = time.monotonic() - began
        # Prompts of similar length share a batch, so that it has little padding.
        work.waiting = sorted(range(len(work.lengths)), key=work.lengths.__getitem__)
        return True

    def _next_batch(self) -> tuple[list[tuple[_Work, int]], int]:
        """Return the prompts of the next batch, as pairs of job and index, and their tokens with padding."""
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
            vectors = model.encode([work.job.prompts[index] for work, index in batch], self._batch_tokens)
        except Exception as error:  # noqa: BLE001  only the jobs of this batch fail
            failed = list(dict.fromkeys(work for work, _ in batch))
            self._works = [work for work in self._works if work not in failed]
            for work in failed:
                self._failed(work, error)
            return
        ended = time.monotonic()
        self._send(BatchDone(items=len(batch), tokens=tokens, seconds=ended - began), b"")
        for (work, index), vector in zip(batch, vectors, strict=True):
            work.vectors[index] = vector
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
        vectors = np.stack([work.vectors[index] for index in range(len(work.lengths))])
        self._send(message, vectors.astype("<f4").tobytes())

    def _failed(self, work: _Work, error: Exception) -> None:
        # The location, but not the exception's text, which may contain the prompt.
        frames = traceback.extract_tb(error.__traceback__)
        location = " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
        logger.error("a job failed: %s in %s", type(error).__name__, location)
        self._send(JobFailed(id=work.job.id, error=type(error).__name__), b"")
