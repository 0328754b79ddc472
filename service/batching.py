"""The embedding queue: prompts of all requests, in batches bounded by tokens, through one encoder in one thread.

`h` the width of what the encoder gives for a prompt.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import NotReadyError, OverloadedError
from service.metrics import Metrics

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


class PromptEncoder(Protocol):
    """What the queue asks of an encoder; it is called from one thread only."""

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each prompt."""
        ...

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        """Return a vector for each prompt, `(N, h)`."""
        ...


@dataclass(eq=False, slots=True)
class _Job:
    """The prompts of one request."""

    prompts: list[str]
    future: Future[list[Array]]
    lengths: list[int] = field(default_factory=list)
    """Tokens of each prompt; the worker counts them."""
    waiting: list[int] = field(default_factory=list)
    """Places of the prompts that no batch has taken; the longest is the last."""
    vectors: dict[int, Array] = field(default_factory=dict)
    """Place of a prompt -> its vector."""


class EmbeddingQueue:
    """Prompts in, vectors out; first come, first served.

    Args:
        encoder: owned by the queue's thread once that runs.
        batch_tokens: bound on the tokens of a batch, padding included; a single longer prompt goes alone.
        max_items: prompts that may wait or be in the encoder.
        metrics: told of depth and batches.
    """

    def __init__(self, encoder: PromptEncoder, *, batch_tokens: int, max_items: int, metrics: Metrics) -> None:
        self._encoder = encoder
        self._batch_tokens = batch_tokens
        self._max_items = max_items
        self._metrics = metrics
        self._changed = threading.Condition()
        self._incoming: deque[_Job] = deque()
        self._num_items = 0
        self._closed = False
        self._jobs: list[_Job] = []  # the worker's own: counted and in turn
        self._seconds_per_item = 0.01
        self._worker = threading.Thread(target=self._run, name="encoder", daemon=True)
        self.last_success = -math.inf
        """When a batch last went through, by `time.monotonic`."""

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()

    def close(self) -> None:
        """Fail what still waits and end the worker after its batch."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._worker.is_alive()

    async def embed(self, prompts: Sequence[str]) -> list[Array]:
        """Embed prompts; when the caller is cancelled, what no batch has taken is dropped.

        Returns:
            A vector `(h,)` for each prompt.

        Raises:
            OverloadedError: the queue has no room for all of them.
            NotReadyError: the worker has ended.
        """
        if not prompts:
            return []
        job = _Job(list(prompts), Future())
        with self._changed:
            if self._closed or not self.alive:
                raise NotReadyError("the encoder has stopped")
            if self._num_items + len(job.prompts) > self._max_items:
                wait = math.ceil(self._num_items * self._seconds_per_item)
                raise OverloadedError(min(60, max(1, wait)))
            self._count(len(job.prompts))
            self._incoming.append(job)
            self._changed.notify()
        # A job that is done, by whatever end, gives its places back at once.
        job.future.add_done_callback(lambda _: self._count(-len(job.prompts)))
        return await asyncio.wrap_future(job.future)

    def _count(self, change: int) -> None:
        with self._changed:
            self._num_items += change
            self._metrics.queue_items.set(self._num_items)

    def _run(self) -> None:
        try:
            while self._take_in():
                self._embed_batch()
        except BaseException:
            logger.critical("the encoder's thread has died", exc_info=True)
            raise
        finally:
            # Whatever ended the worker, nobody is left to wait for it.
            with self._changed:
                self._closed = True
                left = [*self._jobs, *self._incoming]
            for job in left:
                _fail(job, NotReadyError("the encoder has stopped"))

    def _take_in(self) -> bool:
        """Wait for work and take it over; false when the queue is closed."""
        with self._changed:
            while not (self._incoming or self._jobs or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            incoming = list(self._incoming)
            self._incoming.clear()
        self._jobs += incoming
        for job in incoming:
            try:
                job.lengths = [len(tokens) for tokens in self._encoder.tokenize(job.prompts)]
            except Exception as error:  # noqa: BLE001  its own request hears of it, the others go on
                _fail(job, error)
            # Like lengths together, so that a batch holds little padding.
            job.waiting = sorted(range(len(job.lengths)), key=job.lengths.__getitem__)
        return True

    def _embed_batch(self) -> None:
        self._jobs = [job for job in self._jobs if not job.future.done()]
        batch, tokens = self._next_batch()
        if not batch:
            return
        started = time.monotonic()
        try:
            vectors = self._encoder.encode([job.prompts[i] for job, i in batch], self._batch_tokens)
        except Exception as error:  # noqa: BLE001  those of this batch hear of it, the others go on
            for job, _ in batch:
                _fail(job, error)
            return
        self._note(len(batch), tokens, started)
        for (job, i), vector in zip(batch, vectors, strict=True):
            job.vectors[i] = vector
            if len(job.vectors) == len(job.prompts) and job.future.set_running_or_notify_cancel():
                job.future.set_result([job.vectors[place] for place in range(len(job.prompts))])

    def _next_batch(self) -> tuple[list[tuple[_Job, int]], int]:
        """Take the next prompts, each as its job and place, and count their tokens with padding."""
        batch: list[tuple[_Job, int]] = []
        longest = 0
        for job in self._jobs:
            while job.waiting:
                width = max(longest, job.lengths[job.waiting[-1]])
                if batch and width * (len(batch) + 1) > self._batch_tokens:
                    return batch, longest * len(batch)
                longest = width
                batch.append((job, job.waiting.pop()))
        return batch, longest * len(batch)

    def _note(self, items: int, tokens: int, started: float) -> None:
        self.last_success = time.monotonic()
        seconds = self.last_success - started
        # A running mean: what `Retry-After` is guessed from.
        self._seconds_per_item += 0.2 * (seconds / items - self._seconds_per_item)
        self._metrics.batch_items.observe(items)
        self._metrics.batch_tokens.observe(tokens)
        self._metrics.batch_seconds.observe(seconds)


def _fail(job: _Job, error: Exception) -> None:
    if not job.future.done() and job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
