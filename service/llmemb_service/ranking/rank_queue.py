"""The rank queue: the recommendations of all requests, in micro-batches, in one thread."""

import asyncio
import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.api.recommend import Filters, Strategy
from llmemb.bundle import Bundle
from llmemb.index import Hits
from llmemb.scoring.attribution import contributions
from llmemb.scoring.session import session_vectors
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.errors import DeadlineError, NotReadyError, OverloadedError
from llmemb_service.observability.logs import record_part
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankRequest:
    """A history, and which items may be recommended after it."""

    bundle: Bundle
    snapshot: Snapshot
    """Of the bundle's catalogue."""
    history: Sequence[int | Array]
    """Each entry the row of an item or an item vector `(D,)`, oldest first; empty: rank by popularity."""
    k: int
    filters: Filters
    excluded: Collection[int]
    """Rows that must not be recommended."""
    explain: bool = False
    strategy: Strategy = "all"

    def scored_part(self, vectors: Array) -> Array:
        """Return vectors `(..., D)` with 0 in the part that the strategy ignores, so that it does not affect scores."""
        if self.strategy in ("all", "popular"):
            return vectors
        dim = self.bundle.space.dim
        part = np.zeros_like(vectors)
        seen = slice(0, dim) if self.strategy == "collaborative" else slice(dim, None)
        part[..., seen] = vectors[..., seen]
        return part

    def history_part(self, history: Array) -> Array:
        """Return history vectors `(n, D + q)` with 0 in the part of the semantic term that the strategy ignores."""
        dim, width = self.bundle.space.dim, self.bundle.space.width
        if self.strategy == "semantic":
            return history[:, :width]
        if self.strategy == "successors":
            history = history.copy()
            history[:, dim:width] = 0
        return history


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The items, best first, and with `explain` the contribution of each entry, `(k, m)`; see `contributions`."""

    hits: Hits
    contributions: Array | None = None


def rank_together(requests: Sequence[RankRequest]) -> list[Ranking]:
    """Answer requests: one forward pass of the sequence model per bundle, one search per snapshot."""
    hits: dict[int, Hits] = {}
    histories = _histories(requests)
    queries = _queries(requests, histories)
    for places in _groups(queries, [id(request.snapshot) for request in requests]):
        snapshot = requests[places[0]].snapshot
        found = snapshot.search(
            np.stack([queries[place] for place in places]),
            [requests[place].k for place in places],
            [snapshot.selection(requests[place].filters, requests[place].excluded) for place in places],
        )
        hits.update(zip(places, found, strict=True))
    return [
        Ranking(hits[place], _contributions(request, histories[place], hits[place]))
        if place in hits
        else _popular(request)
        for place, request in enumerate(requests)
    ]


def _histories(requests: Sequence[RankRequest]) -> dict[int, Array]:
    """Return index of a request with a history -> its history vectors, read together for each snapshot."""
    histories: dict[int, Array] = {}
    asked = [place for place, request in enumerate(requests) if request.history]
    for places in _groups(asked, [id(request.snapshot) for request in requests]):
        entries = [entry for place in places for entry in requests[place].history]
        vectors = _vectors(requests[places[0]].snapshot, entries)
        start = 0
        for place in places:
            stop = start + len(requests[place].history)
            histories[place] = requests[place].history_part(vectors[start:stop])
            start = stop
    return histories


def _vectors(snapshot: Snapshot, entries: Sequence[int | Array]) -> Array:
    """Return the history vectors `(n, D)` or `(n, D + q)` of a history's entries, see `llmemb/scoring/session.py`."""
    rows = np.array([entry for entry in entries if isinstance(entry, int)], dtype=np.int64)
    found = snapshot.history_vectors(rows)
    if len(rows) == len(entries):
        return found
    inline = np.stack([entry for entry in entries if not isinstance(entry, int)])
    of_rows, of_texts = iter(found), iter(snapshot.bundle.history_vectors(inline, np.full(len(inline), -1)))
    return np.stack([next(of_rows) if isinstance(entry, int) else next(of_texts) for entry in entries])


def _queries(requests: Sequence[RankRequest], histories: Mapping[int, Array]) -> dict[int, Array]:
    """Return index of a request with a history -> its session vector `(D,)`."""
    queries: dict[int, Array] = {}
    for places in _groups(histories, [id(request.bundle) for request in requests]):
        bundle = requests[places[0]].bundle
        vectors = session_vectors(bundle.sequence_model, [histories[place] for place in places], bundle.semantic_term)
        parts = (requests[place].scored_part(vector) for place, vector in zip(places, vectors, strict=True))
        queries.update(zip(places, parts, strict=True))
    return queries


def _groups(places: Collection[int], keys: Sequence[int]) -> list[list[int]]:
    """Group indices that have the same key."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in places:
        groups[keys[place]].append(place)
    return list(groups.values())


def _popular(request: RankRequest) -> Ranking:
    passing = request.snapshot.selection(request.filters, request.excluded)
    return Ranking(request.snapshot.popular(request.k, passing))


def _contributions(request: RankRequest, history: Array, hits: Hits) -> Array | None:
    if not request.explain or not len(hits.rows):
        return None
    model, semantic_term = request.bundle.sequence_model, request.bundle.semantic_term
    return contributions(model, history, request.scored_part(request.snapshot.vectors(hits.rows)), semantic_term)


logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Job:
    """A request in the queue; times by `time.perf_counter`."""

    request: RankRequest
    future: asyncio.Future[Ranking]
    put_in: float
    begun: float = 0.0
    ended: float = 0.0


class RankQueue:
    """Ranks requests of one event loop in a thread; create it on that event loop.

    Args:
        settings: bound the batch size, the queue and the waiting time.
        metrics: get batches and queue depth.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._batch = settings.max_rank_batch_size
        self._max_waiting = settings.max_queued_recommendations
        self._timeout_seconds = settings.rank_timeout_seconds
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting = 0  # in the queue or the thread; changed on the event loop only
        self._seconds_each = 0.001
        self._closed = False
        self._arrived: list[_Job] = []  # in this iteration of the event loop
        self._incoming: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._plain: deque[_Job] = deque()  # the thread's own, as the next one
        self._explained: deque[_Job] = deque()
        metrics.queued_recommendations.set_function(lambda: self._waiting)
        metrics.max_queued_recommendations.set(self._max_waiting)
        self._thread = threading.Thread(target=self._run, name="rank", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Fail waiting requests and end the thread after its current batch; may be called from any thread."""
        self._closed = True
        self._incoming.put(None)
        self._thread.join()

    async def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Answer requests, in order; if the caller is cancelled, its requests are dropped.

        Raises:
            OverloadedError: there is no room for all of them.
            DeadlineError: it took too long.
            NotReadyError: the thread has ended.
        """
        jobs = self._enqueue(requests)
        # Cheaper than `asyncio.timeout`, whose overhead is measurable in a request's latency.
        expiry = self._loop.call_later(self._timeout_seconds, self._expire, jobs)
        try:
            # Cancelling the caller cancels the future it awaits, and the futures in a `gather`.
            rankings = [await jobs[0].future] if len(jobs) == 1 else await asyncio.gather(*_futures(jobs))
        finally:
            expiry.cancel()
            for job in jobs:
                job.future.cancel()  # if one has failed, the others are not needed
        record_part("queue", max(job.begun - job.put_in for job in jobs))
        record_part("rank", max(job.ended - job.begun for job in jobs))
        return rankings

    def _expire(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(DeadlineError(f"not recommended within {self._timeout_seconds:g} s"))

    def _enqueue(self, requests: Sequence[RankRequest]) -> list[_Job]:
        if self._closed or not self.alive:
            raise NotReadyError("recommending has stopped")
        if self._waiting + len(requests) > self._max_waiting:
            wait = min(60, max(1, math.ceil(self._waiting * self._seconds_each)))
            raise OverloadedError(f"too many recommendations wait; try again in {wait} s", wait)
        self._waiting += len(requests)
        now = time.perf_counter()
        jobs = [_Job(request, self._loop.create_future(), now) for request in requests]
        if not self._arrived:
            self._loop.call_soon(self._pass_to_thread)
        self._arrived += jobs
        return jobs

    def _pass_to_thread(self) -> None:
        jobs, self._arrived = self._arrived, []
        if self._closed:
            self._deliver(jobs, [NotReadyError("recommending has stopped")] * len(jobs))
        else:
            self._incoming.put(jobs)

    def _run(self) -> None:
        # A batch is too small for several threads; they would only compete with the event loop for its core.
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        try:
            while self._collect(wait=not (self._plain or self._explained)):
                if self._plain:
                    self._answer([self._plain.popleft() for _ in range(min(self._batch, len(self._plain)))])
                # An explanation takes as long as a batch, so only one runs between two batches.
                if self._explained:
                    self._answer([self._explained.popleft()])
        except BaseException:
            logger.critical("the rank thread has died", exc_info=True)
            raise
        finally:
            self._closed = True
            left = [*self._plain, *self._explained]
            self._loop.call_soon_threadsafe(
                self._deliver, left, [NotReadyError("recommending has stopped")] * len(left)
            )

    def _collect(self, *, wait: bool) -> bool:
        """Move all new requests to the thread's own queues; return false when the queue is closed."""
        try:
            while (jobs := self._incoming.get(block=wait)) is not None:
                for job in jobs:
                    (self._explained if job.request.explain else self._plain).append(job)
                wait = False
        except Empty:
            return True
        return False

    def _answer(self, batch: list[_Job]) -> None:
        dropped = [job for job in batch if job.future.done()]
        wanted = [job for job in batch if not job.future.done()] if dropped else batch
        begun = time.perf_counter()
        outcomes = _outcomes([job.request for job in wanted])
        ended = time.perf_counter()
        for job in wanted:
            job.begun, job.ended = begun, ended
        if wanted:
            # A running mean, used to estimate `Retry-After`.
            self._seconds_each += 0.2 * ((ended - begun) / len(wanted) - self._seconds_each)
            self._metrics.rank_batch_size.observe(len(wanted))
            self._metrics.rank_seconds.observe(ended - begun)
        self._loop.call_soon_threadsafe(self._deliver, [*wanted, *dropped], [*outcomes, *[None] * len(dropped)])

    def _deliver(self, jobs: Sequence[_Job], outcomes: Sequence[Ranking | Exception | None]) -> None:
        """Set each job's outcome, on the event loop; None for a job whose caller was cancelled."""
        self._waiting -= len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done() or outcome is None:
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def _outcomes(requests: Sequence[RankRequest]) -> list[Ranking | Exception]:
    """Answer requests together; if that fails, one by one, so that only the faulty requests fail."""
    try:
        return list(rank_together(requests))
    except Exception as error:  # noqa: BLE001 - returned as this request's outcome
        if len(requests) == 1:
            return [error]
        return [outcome for request in requests for outcome in _outcomes([request])]


def _futures(jobs: Sequence[_Job]) -> list[asyncio.Future[Ranking]]:
    return [job.future for job in jobs]
