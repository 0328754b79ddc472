"""The use case behind `/recommend`: a history -> the next items. `D` the width of item vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import numpy as np
from anyio import to_thread

from llmemb.bundle import Bundle
from llmemb.errors import UnknownItemError
from llmemb.session import items_read, session_vectors
from service.catalogue import Catalogue
from service.embedding import Array, ItemEmbedder
from service.metrics import Metrics
from service.parsing import HistoryEntry
from service.snapshot import ScoredItem, Snapshot


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Items, the best first; `by_popularity` where there was no history to go by."""

    items: list[ScoredItem]
    by_popularity: bool


class Recommender:
    """Recommends from the catalogue's snapshot of the moment.

    Args:
        bundle: gives the sequence model, the semantic term and the popularity.
        catalogue: the items.
        embedder: for the history's items that are given by attributes; ids alone never wait for it.
        threads: recommendations computed at the same time, off the event loop.
        metrics: told of fallbacks.
    """

    def __init__(
        self, bundle: Bundle, catalogue: Catalogue, embedder: ItemEmbedder, *, threads: int, metrics: Metrics
    ) -> None:
        self._bundle = bundle
        self._catalogue = catalogue
        self._embedder = embedder
        self._metrics = metrics
        self._threads = anyio.CapacityLimiter(threads)
        popularity = bundle.items.popularity
        self._popular_rows = np.argsort(-popularity, kind="stable")

    async def recommend(self, history: Sequence[HistoryEntry], *, k: int, exclude_history: bool) -> Recommendation:
        """Recommend k items after a history, the oldest entry first.

        Args:
            history: the most recent entries are read, as many as sequence model and semantic term take; empty: the
                most popular items come.
            k: where fewer items are left, all of them come.
            exclude_history: leave out every item whose id is in the history, however old.

        Raises:
            UnknownItemError: lists every id that the catalogue does not hold.
            OverloadedError: the history's new items find the queue full.
            DeadlineError: they were not embedded in time.
            NotReadyError: the encoder has stopped.
        """
        snapshot = self._catalogue.snapshot
        rows = _rows(snapshot, [entry for entry in history if isinstance(entry, str)])
        if not history:
            self._metrics.fallbacks.inc()
            return Recommendation(self._popular(snapshot, k), by_popularity=True)
        model, semantic_term = self._bundle.sequence_model, self._bundle.semantic_term
        recent = history[-items_read(model, semantic_term) :]
        vectors = await self._vectors(snapshot, rows, recent)
        excluded = set(rows.values()) if exclude_history else set()

        def compute() -> list[ScoredItem]:
            session = session_vectors(model, [vectors], semantic_term)[0]
            return snapshot.search(session, k, excluded)

        return Recommendation(await to_thread.run_sync(compute, limiter=self._threads), by_popularity=False)

    async def _vectors(self, snapshot: Snapshot, rows: dict[str, int], history: Sequence[HistoryEntry]) -> Array:
        """The history's item vectors, `(n, D)`."""
        inline = [entry for entry in history if not isinstance(entry, str)]
        embedded = iter(await self._embedder.embed(inline) if inline else ())
        space = self._bundle.space
        return np.stack(
            [
                snapshot.vector(rows[entry])
                if isinstance(entry, str)
                else space.item_vectors(next(embedded).vector, None)
                for entry in history
            ]
        )

    def _popular(self, snapshot: Snapshot, k: int) -> list[ScoredItem]:
        """The bundle's items by training popularity, those of equal popularity by row, then the added ones."""
        ids, popularity = self._bundle.items.ids, self._bundle.items.popularity
        by_score = [(ids[row], float(popularity[row])) for row in self._popular_rows[:k]]
        new = (item.id for item in snapshot.added if item.id not in self._bundle.items.rows)
        by_score += [(item_id, 0.0) for item_id, _ in zip(new, range(k - len(by_score)), strict=False)]
        # By id, so that a replaced item comes with its new attributes.
        return [snapshot.item(row, score) for item_id, score in by_score if (row := snapshot.row(item_id)) is not None]


def _rows(snapshot: Snapshot, item_ids: Sequence[str]) -> dict[str, int]:
    rows = {item_id: snapshot.row(item_id) for item_id in item_ids}
    unknown = [item_id for item_id, row in rows.items() if row is None]
    if unknown:
        raise UnknownItemError(unknown)
    return {item_id: row for item_id, row in rows.items() if row is not None}
