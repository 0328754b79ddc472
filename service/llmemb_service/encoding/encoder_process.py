"""The LLM in a separate process, which runs at low priority and is restarted when it dies.

`h` is the LLM's width.
"""

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmemb.errors import BundleError, EncoderError
from llmemb_service.encoding.frames import (
    BatchDone,
    Cancel,
    Job,
    JobDone,
    JobFailed,
    Ready,
    Refused,
    pack,
    read_from_encoder,
)
from llmemb_service.encoding.host_process import Connection
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.encoding.worker import WorkerOptions
from llmemb_service.encoding.worker_host import WorkerHost
from llmemb_service.errors import EncoderUnavailableError, OverloadedError
from llmemb_service.observability.logs import record_part
from llmemb_service.observability.metrics import Metrics

START_SECONDS = 300.0
"""How long a worker may take to become ready; after that its fork server is replaced."""
QUICK_DEATH_SECONDS = 10.0
"""If a worker died sooner than this, the next one starts after a pause."""
MAX_PAUSE_SECONDS = 5.0
REFUSED_PAUSE_SECONDS = 30.0
"""Pause before an LLM that could not be loaded, or is not the bundle's, is loaded again: a retry seldom helps."""
RETRY_SECONDS = 2
"""The Retry-After of a request that found no running encoder."""
_PROBE = "ready?"
_STARTING = "the encoder is starting; try again in a few seconds"
_UNAVAILABLE = (EOFError, OSError, ValueError, TimeoutError)
"""How a connection fails: closed, broken, an invalid frame, or a timeout."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A finished job and the bytes of its vectors `(N, h)`."""

    done: JobDone
    payload: bytes

    def embeddings(self) -> list[RawEmbedding]:
        vectors = np.frombuffer(self.payload, dtype="<f4").reshape(len(self.done.tokens), -1)
        return [RawEmbedding(vector, count) for vector, count in zip(vectors, self.done.tokens, strict=True)]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A job that is not finished."""

    num_prompts: int
    answered: asyncio.Future[_Answer]


class EncoderProcess:
    """A `PromptEncoder`; use it on one event loop.

    Args:
        options: of the worker process.
        verify: called in a thread each time the LLM was loaded; raises BundleError if the files it was loaded from are
            not the bundle's. A trainer may have replaced the bundle in its folder.
        max_items: maximum number of prompts that wait for the LLM or are in a batch.
        timeout_seconds: how long a caller waits. A request that would wait longer is refused immediately. A worker that
            has work and sends nothing for twice this time is killed, unless other processes keep it from running.
        metrics: gets queue depth, batches and restarts.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        verify: Callable[[], object],
        max_items: int,
        timeout_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._host = WorkerHost(options)
        self._verify = verify
        self._max_items = max_items
        self._timeout_seconds = timeout_seconds
        self._stall_seconds = 2 * timeout_seconds
        self._metrics = metrics
        self._connection: Connection | None = None
        self._jobs: dict[int, _Waiting] = {}
        self._last_id = 0
        self._num_items = 0
        self._seconds_per_item = 0.01
        self._progress_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._first_start: asyncio.Task[None] | None = None
        self._other_files: str | None = None
        """The reason why nothing is embedded, while the LLM in the folder is not the bundle's; otherwise None."""
        self.pid: int | None = None
        """The worker's process id, None while no worker is ready."""

    def begin(self) -> None:
        """Start in the background; requests wait until the start has finished, within the bounds of the queue."""
        self._first_start = asyncio.create_task(self.start())
        # `started` raises the exception; this only keeps asyncio from logging it as never retrieved.
        self._first_start.add_done_callback(lambda start: start.cancelled() or start.exception())

    async def started(self) -> None:
        """See `PromptEncoder`."""
        if self._first_start is not None:
            await asyncio.shield(self._first_start)

    async def start(self) -> None:
        """Start the process and wait until the LLM is loaded.

        Raises:
            EncoderError: the LLM cannot be loaded, or the device cannot be used.
        """
        try:
            connection = await self._new_connection()
        except _UNAVAILABLE as error:
            raise EncoderError(f"the encoder's process does not start ({type(error).__name__}); see the log") from error
        finally:
            if self._connection is None:
                await self._host.close()
        self._tasks = [asyncio.create_task(self._keep_running(connection)), asyncio.create_task(self._watch())]

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """See `PromptEncoder`.

        Raises:
            OverloadedError: the queue has no room for all of them, or they would wait too long.
            EncoderUnavailableError: the encoder is restarting, died during the work, or failed.
        """
        if not prompts:
            return []
        self._check_capacity(len(prompts))
        self._change_depth(len(prompts))
        try:
            answer = await self._answer(prompts)
        finally:
            self._change_depth(-len(prompts))
        record_part("queue", answer.done.queue_seconds)
        record_part("tokenise", answer.done.tokenise_seconds)
        record_part("encode", answer.done.encode_seconds)
        return answer.embeddings()

    async def _answer(self, prompts: Sequence[str]) -> _Answer:
        if self._first_start is not None and not self._first_start.done():
            await asyncio.wait([self._first_start])
        if self._connection is None:
            raise EncoderUnavailableError(self._other_files or _STARTING, RETRY_SECONDS)
        if not self._jobs:
            self._progress_at = time.monotonic()
        self._last_id += 1
        job = Job(id=self._last_id, prompts=list(prompts))
        answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._jobs[job.id] = _Waiting(len(prompts), answered)
        try:
            # What the socket does not accept yet is buffered in this process; `max_items` bounds the buffer.
            self._connection.send(pack(job))
            return await answered
        finally:
            if self._jobs.pop(job.id, None) is not None and self._connection is not None:
                self._connection.send(pack(Cancel(id=job.id)))

    async def fault(self) -> str | None:
        """See `PromptEncoder`; embeds a probe text, unless recent work already proves that the encoder works."""
        if self._connection is None:
            return self._other_files or ("restarting" if self._tasks else "starting")
        if self._jobs and time.monotonic() - self._progress_at < self._timeout_seconds:
            return None
        try:
            await self.encode([_PROBE])
        except (EncoderUnavailableError, OverloadedError) as error:
            return str(error)
        return None

    async def close(self) -> None:
        """See `PromptEncoder`."""
        if self._first_start is not None:
            # First of all, because it creates the other tasks.
            self._first_start.cancel()
            await asyncio.wait([self._first_start])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._disconnect("the encoder has stopped")
        await self._host.close()

    def _check_capacity(self, num_prompts: int) -> None:
        # Smaller jobs run first, see `Batcher`. The time limit does not apply to a job with nothing before it.
        before = sum(job.num_prompts for job in self._jobs.values() if job.num_prompts <= num_prompts)
        if self._num_items + num_prompts > self._max_items:
            waiting = self._num_items
        elif before and (before + num_prompts) * self._seconds_per_item > self._timeout_seconds:
            waiting = before
        else:
            return
        wait = min(60, max(1, math.ceil(waiting * self._seconds_per_item)))
        raise OverloadedError(f"too many texts wait for the encoder; try again in {wait} s", wait)

    def _change_depth(self, change: int) -> None:
        self._num_items += change
        self._metrics.queued_items.inc(change)

    async def _new_connection(self) -> Connection:
        """Start a worker, wait until it is ready, and use it for requests from then on.

        Raises:
            EncoderError: the LLM cannot be loaded, or is not the bundle's.
            EOFError, OSError, ValueError: the worker has ended.
            TimeoutError: it is not ready within `START_SECONDS`.
        """
        connection = await self._host.new_worker()
        try:
            pid = await _pid_when_ready(connection)
            await self._verify_loaded()
        except BaseException:
            connection.writer.transport.abort()
            raise
        self._connection, self.pid = connection, pid
        return connection

    async def _verify_loaded(self) -> None:
        # After loading, not before: files that are the bundle's now were also the bundle's when they were read.
        try:
            await asyncio.to_thread(self._verify)
        except BundleError as error:
            self._other_files = (
                f"nothing is embedded: the encoder's folder no longer belongs to the loaded bundle ({error}); load "
                "the bundle again with POST /admin/bundles, or restart the service"
            )
            raise EncoderError(self._other_files) from error
        self._other_files = None

    async def _keep_running(self, connection: Connection) -> None:
        """Handle the worker's messages; when it dies fail the waiting requests and start another one; never returns."""
        quick_deaths = 0
        while True:
            began = time.monotonic()
            try:
                while True:
                    self._handle(*await read_from_encoder(connection.reader))
            except _UNAVAILABLE as error:
                logger.warning("the encoder's process has ended (%s); it is restarted", type(error).__name__)
            self._disconnect(_STARTING)
            quick_deaths = quick_deaths + 1 if time.monotonic() - began < QUICK_DEATH_SECONDS else 0
            connection = await self._restart(quick_deaths)

    async def _restart(self, quick_deaths: int) -> Connection:
        while True:
            self._metrics.encoder_restarts.inc()
            if quick_deaths > 1:
                await asyncio.sleep(min(MAX_PAUSE_SECONDS, 0.1 * 2**quick_deaths))
            try:
                return await self._new_connection()
            except EncoderError as error:
                logger.error("the encoder is not restarted: %s", error)  # noqa: TRY400
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            except _UNAVAILABLE as error:
                logger.warning("the encoder's process does not start: %s %s", type(error).__name__, error)
                quick_deaths += 1
                await self._host.kill()

    def _handle(self, message: object, payload: bytes) -> None:
        self._progress_at = time.monotonic()
        if isinstance(message, BatchDone):
            # A running mean, used to estimate how long a job would wait.
            self._seconds_per_item += 0.2 * (message.seconds / message.items - self._seconds_per_item)
            self._metrics.batch_items.observe(message.items)
            self._metrics.batch_tokens.observe(message.tokens)
            self._metrics.batch_seconds.observe(message.seconds)
        elif isinstance(message, JobDone | JobFailed):
            job = self._jobs.pop(message.id, None)
            if job is None or job.answered.done():
                return  # its caller was cancelled
            if isinstance(message, JobDone):
                job.answered.set_result(_Answer(message, payload))
            else:
                job.answered.set_exception(EncoderUnavailableError(f"the encoder failed ({message.error})"))

    async def _watch(self) -> None:
        """Kill a worker that has work and makes no progress, unless other processes keep it from running."""
        interval = self._stall_seconds / 4
        before = 0.0
        while True:
            await asyncio.sleep(interval)
            used = 0.0 if self.pid is None else processor_seconds(self.pid)
            # A hanging worker uses no core, one in an endless loop a whole core; a starved one something between.
            starved, before = 0 < used - before < interval / 2, used
            stalled = self._jobs and time.monotonic() - self._progress_at > self._stall_seconds
            if stalled and not starved and self.pid is not None:
                logger.error("the encoder has made no progress for %g s; it is killed", self._stall_seconds)
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

    def _disconnect(self, reason: str) -> None:
        connection, self._connection, self.pid = self._connection, None, None
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if not job.answered.done():
                job.answered.set_exception(EncoderUnavailableError(reason, RETRY_SECONDS))
        if connection is not None:
            connection.writer.transport.abort()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds; 0 if the system has no `/proc`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _pid_when_ready(connection: Connection) -> int:
    async with asyncio.timeout(START_SECONDS):
        message, _ = await read_from_encoder(connection.reader)
    if isinstance(message, Ready):
        return message.pid
    raise EncoderError(message.reason if isinstance(message, Refused) else "the encoder sent an unexpected message")
