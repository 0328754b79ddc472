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
from service.catalogue.snapshot.snapshot import Snapshot
from service.errors import DeadlineError, NotReadyError, OverloadedError
from service.observability.logs import record_part
from service.observability.metrics import Metrics
from service.settings import Settings

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankRequest:
    """A history, and which items may come after it."""

    bundle: Bundle
    snapshot: Snapshot
    """Of the bundle's catalogue."""
    history: Sequence[int | Array]
    """Each entry the row of an item or an item vector `(D,)`, the oldest first; empty: the most popular items come."""
    k: int
    filters: Filters
    excluded: Collection[int]
    """Rows that must not come."""
    explain: bool = False
    strategy: Strategy = "all"

    def scored_part(self, vectors: Array) -> Array:
        """Return vectors `(..., D)` with 0 where the strategy does not look, so that it takes no part in a score."""
        if self.strategy in ("all", "popular"):
            return vectors
        dim = self.bundle.space.dim
        part = np.zeros_like(vectors)
        seen = slice(0, dim) if self.strategy == "collaborative" else slice(dim, None)
        part[..., seen] = vectors[..., seen]
        return part

    def history_part(self, history: Array) -> Array:
        """Return history vectors `(n, D + q)` with 0 in that part of the semantic term that the strategy leaves out."""
        dim, width = self.bundle.space.dim, self.bundle.space.width
        if self.strategy == "semantic":
            return history[:, :width]
        if self.strategy == "successors":
            history = history.copy()
            history[:, dim:width] = 0
        return history


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The items, the best first, and with `explain` what each entry did for each: `(k, m)`, see `contributions`."""

    hits: Hits
    contributions: Array | None = None


def rank_together(requests: Sequence[RankRequest]) -> list[Ranking]:
    """Answer requests: one pass of the sequence model for each bundle, one search for each snapshot."""
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
    """Place of a request with a history -> its history vectors, read together for each snapshot."""
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
    """Place of a request with a history -> its session vector `(D,)`."""
    queries: dict[int, Array] = {}
    for places in _groups(histories, [id(request.bundle) for request in requests]):
        bundle = requests[places[0]].bundle
        vectors = session_vectors(bundle.sequence_model, [histories[place] for place in places], bundle.semantic_term)
        parts = (requests[place].scored_part(vector) for place, vector in zip(places, vectors, strict=True))
        queries.update(zip(places, parts, strict=True))
    return queries


def _groups(places: Collection[int], keys: Sequence[int]) -> list[list[int]]:
    """Places with the same key, together."""
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
    """Requests in, rankings out; made on the event loop whose requests it takes.

    Args:
        settings: bound the batch, what may wait, and for how long.
        metrics: told of batches and depth.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._batch = settings.rank_batch
        self._max_waiting = settings.rank_max_waiting
        self._timeout_seconds = settings.rank_timeout_seconds
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting = 0  # in the queue or the thread; changed on the event loop only
        self._seconds_each = 0.001
        self._closed = False
        self._come: list[_Job] = []  # in this turn of the event loop
        self._incoming: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._plain: deque[_Job] = deque()  # the thread's own, as the next one
        self._explained: deque[_Job] = deque()
        metrics.rank_waiting.set_function(lambda: self._waiting)
        metrics.rank_max_waiting.set(self._max_waiting)
        self._thread = threading.Thread(target=self._run, name="rank", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Fail what still waits and end the thread after its batch; may be called from any thread."""
        self._closed = True
        self._incoming.put(None)
        self._thread.join()

    async def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Answer requests, in their order; those of a caller that is cancelled are dropped.

        Raises:
            OverloadedError: there is no room for all of them.
            DeadlineError: it took too long.
            NotReadyError: the thread has ended.
        """
        jobs = self._put_in(requests)
        # Lighter than `asyncio.timeout`, which would be a part of a request's time that can be seen.
        expiry = self._loop.call_later(self._timeout_seconds, self._expire, jobs)
        try:
            # What one request awaits is cancelled with it; so is a future, and so are those gathered.
            rankings = [await jobs[0].future] if len(jobs) == 1 else await asyncio.gather(*_futures(jobs))
        finally:
            expiry.cancel()
            for job in jobs:
                job.future.cancel()  # where one has failed the others are of no use
        record_part("queue", max(job.begun - job.put_in for job in jobs))
        record_part("rank", max(job.ended - job.begun for job in jobs))
        return rankings

    def _expire(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(DeadlineError(f"not recommended within {self._timeout_seconds:g} s"))

    def _put_in(self, requests: Sequence[RankRequest]) -> list[_Job]:
        if self._closed or not self.alive:
            raise NotReadyError("recommending has stopped")
        if self._waiting + len(requests) > self._max_waiting:
            wait = min(60, max(1, math.ceil(self._waiting * self._seconds_each)))
            raise OverloadedError(f"too many recommendations wait; try again in {wait} s", wait)
        self._waiting += len(requests)
        now = time.perf_counter()
        jobs = [_Job(request, self._loop.create_future(), now) for request in requests]
        if not self._come:
            self._loop.call_soon(self._hand_over)
        self._come += jobs
        return jobs

    def _hand_over(self) -> None:
        jobs, self._come = self._come, []
        if self._closed:
            self._deliver(jobs, [NotReadyError("recommending has stopped")] * len(jobs))
        else:
            self._incoming.put(jobs)

    def _run(self) -> None:
        # What batches hold is too small for several threads, which would only take the event loop's core.
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        try:
            while self._take_in(wait=not (self._plain or self._explained)):
                if self._plain:
                    self._answer([self._plain.popleft() for _ in range(min(self._batch, len(self._plain)))])
                # An explanation takes as long as a batch: one between two batches holds nobody up for long.
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

    def _take_in(self, *, wait: bool) -> bool:
        """Take over all that has come; false when the queue is closed."""
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
            # A running mean: what `Retry-After` is guessed from.
            self._seconds_each += 0.2 * ((ended - begun) / len(wanted) - self._seconds_each)
            self._metrics.rank_batch.observe(len(wanted))
            self._metrics.rank_seconds.observe(ended - begun)
        self._loop.call_soon_threadsafe(self._deliver, [*wanted, *dropped], [*outcomes, *[None] * len(dropped)])

    def _deliver(self, jobs: Sequence[_Job], outcomes: Sequence[Ranking | Exception | None]) -> None:
        """On the event loop: give each job its outcome, None to one that nobody waits for."""
        self._waiting -= len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done() or outcome is None:
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def _outcomes(requests: Sequence[RankRequest]) -> list[Ranking | Exception]:
    """Answer requests together; where that fails one by one, so that only those at fault hear of it."""
    try:
        return list(rank_together(requests))
    except Exception as error:  # noqa: BLE001 - given to whom it concerns
        if len(requests) == 1:
            return [error]
        return [outcome for request in requests for outcome in _outcomes([request])]


def _futures(jobs: Sequence[_Job]) -> list[asyncio.Future[Ranking]]:
    return [job.future for job in jobs]
