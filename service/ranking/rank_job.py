"""What the rank thread computes: several requests at once, each as it would be answered alone.

`n` entries of a history, `k` items, `D` width of item vectors.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.api.recommend import Filters, Strategy
from llmemb.attribution import contributions
from llmemb.bundle import Bundle
from llmemb.index import Hits
from llmemb.session import session_vectors
from service.catalogue.snapshot import Snapshot

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
    """Return the history vectors `(n, D)` or `(n, D + q)` of a history's entries, see `llmemb/session.py`."""
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
