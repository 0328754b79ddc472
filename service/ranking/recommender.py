"""The use case behind `/recommend`: a history -> the next items. `D` the width of item vectors."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle
from llmemb.errors import UnknownItemError
from llmemb.session import items_read
from service.catalogue.catalogue import Catalogue
from service.catalogue.snapshot import Snapshot
from service.encoding.embedder import ItemEmbedder
from service.ranking.query import Query
from service.ranking.rank_job import Ranking, RankRequest
from service.ranking.rank_queue import RankQueue
from service.ranking.reach import Reach
from service.ranking.reading import HistoryRead, read_history
from service.ranking.recommendation import Explanation, Recommendation
from service.settings import Settings
from service.sight.metrics import Metrics

Array = NDArray[np.float32]


class Recommender:
    """Recommends from the catalogue's snapshot of the moment.

    Args:
        bundle: gives the sequence model and the semantic term.
        catalogue: the items.
        embedder: for the history's items that are given by attributes; ids alone never wait for it.
        queue: computes, for all bundles.
        settings: how many queries are remembered.
        metrics: told what is recommended.
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
        self._reach = Reach(bundle.manifest.id, metrics)
        self._items_read = items_read(bundle.sequence_model, bundle.semantic_term)
        self.recent: deque[Query] = deque(maxlen=settings.replay_requests)
        """The latest queries by ids alone and by the whole score, the oldest first: what a new bundle is tried with."""

    async def recommend(self, query: Query) -> Recommendation:
        """Recommend items to a shopper.

        Raises:
            UnknownItemError: lists every id of the history that the catalogue does not hold.
            OverloadedError: too much waits, for the model or for the encoder.
            DeadlineError: it took too long.
            EncoderUnavailableError: the encoder cannot embed the history's new items now.
            NotReadyError: recommending has stopped.
        """
        return (await self.recommend_many([query]))[0]

    async def recommend_many(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Answer several queries from one snapshot of the catalogue, all of them or none.

        Raises:
            As `recommend`; the unknown ids of all histories come together.
        """
        recommendations = await self.rank(queries)
        for query, recommendation in zip(queries, recommendations, strict=True):
            self._reach.count(recommendation)
            if not query.has_attributes and query.strategy == "all":
                self.recent.append(query)
            await _let_others_run(queries)
        return recommendations

    async def recommend_after(self, item_ids: Sequence[str]) -> Recommendation:
        """Recommend to nobody, as a check: neither counted nor remembered.

        Raises:
            As `recommend`.
        """
        return (await self.rank([Query(history=item_ids)]))[0]

    async def rank(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Do what `recommend_many` does, neither counted nor remembered.

        Raises:
            As `recommend_many`.
        """
        snapshot = self._catalogue.snapshot
        histories, unknown = [], []
        for query in queries:
            # An explanation asks what would be read without an entry: one entry more.
            history, strange = read_history(query, snapshot, self._items_read + query.explain)
            histories.append(history)
            unknown += strange
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
        """The entries of each history, item vectors `(D,)` in the place of attributes; these are embedded together."""
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
        falls = ranking.contributions
        if falls is None:  # popularity chose, or nothing passed
            falls = np.empty((len(ranking.hits.rows), 0), dtype=np.float32)
        first = len(history.entries) - falls.shape[1]
        return Explanation(
            positions=history.positions[first:],
            ids=[snapshot.item_id(entry) if isinstance(entry, int) else None for entry in history.entries[first:]],
            contributions=falls,
        )


async def _let_others_run(queries: Sequence[Query]) -> None:
    """Give way between the queries of a large request, which together would hold the event loop too long."""
    if len(queries) > 1:
        await asyncio.sleep(0)
