"""The items that came after the base: rows that follow the base's, in columns that only grow.

`M` rows, `D` width of item vectors, `B` queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmemb.index import Hits
from llmemb.index.hits import best_hits
from llmemb.index.scoring import rough_products, score_rows
from service.catalogue.changes import Array
from service.catalogue.columns import Column
from service.catalogue.filters import Passing

ROUNDING = 1e-5
"""A bound on how far a matrix product's entry is from the exact score, over the product of the two lengths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What is known of each added or replaced item."""

    ids: Column[np.object_]
    attributes_json: Column[np.object_]
    vectors: Column[np.float32]
    """Item vectors, `(M, D)`."""
    popularity: Column[np.int64]
    """Training interactions of an id of the bundle, else 0."""

    @classmethod
    def empty(cls, width: int) -> "Delta":
        """Return one without items, for vectors of this width, D."""
        return cls(
            ids=Column.of(np.empty(0, dtype=np.object_)),
            attributes_json=Column.of(np.empty(0, dtype=np.object_)),
            vectors=Column.of(np.empty((0, width), dtype=np.float32)),
            popularity=Column.of(np.empty(0, dtype=np.int64)),
        )

    def __len__(self) -> int:
        return self.ids.length

    def with_items(
        self, ids: Sequence[str], attributes_json: Sequence[str], vectors: Array, popularity: Sequence[int]
    ) -> "Delta":
        """Return a longer one; the columns of `ids`, `vectors` `(n, D)` and the others are of the same n items."""
        return Delta(
            ids=self.ids.with_rows(np.array(ids, dtype=np.object_)),
            attributes_json=self.attributes_json.with_rows(np.array(attributes_json, dtype=np.object_)),
            vectors=self.vectors.with_rows(vectors),
            popularity=self.popularity.with_rows(np.array(popularity, dtype=np.int64)),
        )


def search_exactly(
    queries: Array, ks: Sequence[int], passing: Sequence[Passing], vectors: Array, start: int
) -> list[Hits]:
    """Return the best of a few rows for each query, with the scores that an index gives.

    Args:
        queries: `(B, D)`.
        ks: how many rows, for each query.
        passing: which rows may come, for each query.
        vectors: of the rows `start..start + n`, `(n, D)`.
        start: the first of these rows.
    """
    products = rough_products(queries, vectors)
    # A matrix product rounds by where a row stands: it says which rows are near the best, and those are scored exactly.
    slack = ROUNDING * np.sqrt(np.einsum("bd,bd->b", queries, queries) * np.einsum("nd,nd->n", vectors, vectors).max())
    hits = []
    for query, scores, k, each, margin in zip(queries, products, ks, passing, slack, strict=True):
        places = np.flatnonzero(each.mask(start, start + len(vectors)))
        if len(places) > k:
            scores = scores[places]
            places = places[scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - margin]
        hits.append(best_hits(start + places, score_rows(vectors, query, places), k))
    return hits
