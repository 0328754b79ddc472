"""The use case behind `/recommend`: a history -> the next items; and the metrics of catalogue coverage."""

import asyncio
import math
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.errors import UnknownItemError
from llmemb.scoring.session import items_read
from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.observability.metrics import Metrics
from llmemb_service.ranking.query import Explanation, HistoryRead, Query, Recommendation, read_history
from llmemb_service.ranking.rank_queue import Ranking, RankQueue, RankRequest
from llmemb_service.settings import Settings

Kind = Literal["head", "tail", "cold", "added", "fallback"]
KINDS: tuple[Kind, ...] = ("head", "tail", "cold", "added", "fallback")
MAX_REMEMBERED = 100_000
"""Maximum number of rows whose kinds are cached."""


class CatalogueCoverage:
    """Counts the recommended items of one bundle by kind, and estimates the share of the catalogue that they cover.

    Args:
        bundle_id: a label of the metrics.
        metrics: get the counts.
    """

    def __init__(self, bundle_id: str, metrics: Metrics) -> None:
        self._distinct = DistinctIds()
        self._fallbacks = metrics.fallbacks
        self._items = {kind: metrics.recommended_items.labels(bundle_id, kind) for kind in KINDS}
        self._coverage = metrics.coverage.labels(bundle_id)
        self._snapshot: weakref.ref[Snapshot] | None = None
        """Weak: after a compaction the old table and index would stay in memory until the next recommendation."""
        self._kinds: dict[int, Kind] = {}  # by row of that snapshot; nearly all items are recommended repeatedly

    def count(self, recommendation: Recommendation) -> None:
        """Count a recommendation that was given to a shopper."""
        snapshot = recommendation.snapshot
        if self._snapshot is None or self._snapshot() is not snapshot or len(self._kinds) > MAX_REMEMBERED:
            self._snapshot, self._kinds = weakref.ref(snapshot), {}
        rows = recommendation.rows.tolist()
        kinds = [self._kinds.get(row) or self._cache_kind(snapshot, row) for row in rows]
        if recommendation.by_popularity:
            self._fallbacks.inc()
            self._items["fallback"].inc(len(rows))
            return
        for kind in set(kinds):
            self._items[kind].inc(kinds.count(kind))

    def _cache_kind(self, snapshot: Snapshot, row: int) -> Kind:
        """Return the kind of an item whose row is not cached, cache it, and add the item to the coverage."""
        kind = self._kinds[row] = kind_of(snapshot, row)
        if self._distinct.add(snapshot.item_id(row)):
            self._coverage.set(min(1.0, self._distinct.estimate() / len(snapshot)))
        return kind


def kind_of(snapshot: Snapshot, row: int) -> Kind:
    """Return an item's kind: `added` or changed since training, `cold` without interactions, `tail`, or `head`."""
    if snapshot.source(row) == "added":
        return "added"
    if snapshot.is_cold(row):
        return "cold"
    return "tail" if snapshot.is_tail(row) else "head"


class DistinctIds:
    """Estimates the number of distinct ids, in a constant megabyte of memory.

    Each id sets one of M bits; the number is estimated from the share of unset bits. The error is a few ids up to some
    ten thousand ids, and below 1 % up to ten million.

    Source: linear counting, Whang et al. 1990.
    """

    def __init__(self, bits: int = 2**23) -> None:
        self._number = bits
        self._bits = bytearray(bits // 8)
        self._set = 0

    def add(self, item_id: str) -> bool:
        """Add an id; return false if it was added before, or if another id has set the same bit."""
        place, bit = divmod(hash(item_id) % self._number, 8)
        if self._bits[place] >> bit & 1:
            return False
        self._bits[place] |= 1 << bit
        self._set += 1
        return True

    def estimate(self) -> float:
        """Return the estimated number of distinct ids."""
        unset = max(1, self._number - self._set)
        return -self._number * math.log(unset / self._number)


Array = NDArray[np.float32]


class Recommender:
    """Recommends from the catalogue's current snapshot.

    Args:
        bundle: gives the sequence model and the semantic term.
        catalogue: the items.
        embedder: embeds items of a history that are given by attributes; a history of ids never waits for it.
        queue: ranks items, for all bundles.
        settings: bound the number of stored queries.
        metrics: get the recommended items.
    """

    def __init__(
        self,
        bundle: Bundle,
        catalogue: Catalogue,
        embedder: ItemEmbedder,
        queue: RankQueue,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._bundle = bundle
        self._catalogue = catalogue
        self._embedder = embedder
        self._queue = queue
        self._catalogue_coverage = CatalogueCoverage(bundle.manifest.id, metrics)
        self._items_read = items_read(bundle.sequence_model, bundle.semantic_term)
        self.recent: deque[Query] = deque(maxlen=settings.replay_requests)
        """The latest queries by ids only and with strategy `all`, oldest first; a new bundle is checked with them."""

    async def recommend(self, query: Query) -> Recommendation:
        """Recommend items to a shopper.

        Raises:
            UnknownItemError: lists every id of the history that is not in the catalogue.
            OverloadedError: the rank queue or the encoder's queue is full.
            DeadlineError: it took too long.
            EncoderUnavailableError: the encoder cannot embed the history's inline items.
            NotReadyError: recommending has stopped.
        """
        return (await self.recommend_many([query]))[0]

    async def recommend_many(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Answer several queries from one snapshot of the catalogue; one failure fails all of them.

        Raises:
            As `recommend`; the error lists the unknown ids of all histories.
        """
        recommendations = await self.rank(queries)
        for query, recommendation in zip(queries, recommendations, strict=True):
            self._catalogue_coverage.count(recommendation)
            if not query.has_attributes and query.strategy == "all":
                self.recent.append(query)
            await _let_others_run(queries)
        return recommendations

    async def recommend_after(self, item_ids: Sequence[str]) -> Recommendation:
        """Recommend as a health check: the result is not counted, and the query is not stored.

        Raises:
            As `recommend`.
        """
        return (await self.rank([Query(history=item_ids)]))[0]

    async def rank(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Answer queries as `recommend_many` does, without counting the results or storing the queries.

        Raises:
            As `recommend_many`.
        """
        snapshot = self._catalogue.snapshot
        histories, unknown = [], []
        for query in queries:
            # An explanation leaves out one entry at a time, so it needs one more entry.
            history, missing = read_history(query, snapshot, self._items_read + query.explain)
            histories.append(history)
            unknown += missing
            await _let_others_run(queries)
        if unknown:
            raise UnknownItemError(list(dict.fromkeys(unknown)))
        entries = await self._with_vectors(histories)
        requests = [
            RankRequest(
                bundle=self._bundle,
                snapshot=snapshot,
                history=read,
                k=query.k,
                filters=query.filters,
                excluded=history.excluded,
                explain=query.explain,
                strategy=query.strategy,
            )
            for query, history, read in zip(queries, histories, entries, strict=True)
        ]
        rankings = await self._queue.rank(requests)
        return [
            self._recommendation(query, snapshot, history, ranking)
            for query, history, ranking in zip(queries, histories, rankings, strict=True)
        ]

    async def _with_vectors(self, histories: Sequence[HistoryRead]) -> list[Sequence[int | Array]]:
        """Return the entries of each history, with item vectors `(D,)` in place of attributes; embeds them together."""
        inline = [attributes for history in histories for attributes in history.inline]
        if not inline:
            return [cast("Sequence[int]", history.entries) for history in histories]
        space = self._bundle.space
        vectors = (space.item_vectors(each.vector, None) for each in await self._embedder.embed(inline))
        return [
            [entry if isinstance(entry, int) else next(vectors) for entry in history.entries] for history in histories
        ]

    def _recommendation(
        self, query: Query, snapshot: Snapshot, history: HistoryRead, ranking: Ranking
    ) -> Recommendation:
        return Recommendation(
            snapshot=snapshot,
            rows=ranking.hits.rows,
            scores=ranking.hits.scores,
            by_popularity=not history.entries,
            explanation=self._explanation(snapshot, history, ranking) if query.explain else None,
        )

    def _explanation(self, snapshot: Snapshot, history: HistoryRead, ranking: Ranking) -> Explanation:
        contributions = ranking.contributions
        if contributions is None:  # ranked by popularity, or no item passed the filters
            contributions = np.empty((len(ranking.hits.rows), 0), dtype=np.float32)
        first = len(history.entries) - contributions.shape[1]
        return Explanation(
            positions=history.positions[first:],
            ids=[snapshot.item_id(entry) if isinstance(entry, int) else None for entry in history.entries[first:]],
            contributions=contributions,
        )


async def _let_others_run(queries: Sequence[Query]) -> None:
    """Yield to the event loop between the queries of a large request, which together would block it too long."""
    if len(queries) > 1:
        await asyncio.sleep(0)
