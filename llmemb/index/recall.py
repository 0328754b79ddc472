"""How much an index finds of what an exact search finds, and the effort it takes to find enough."""

from bisect import bisect_left

import numpy as np

from llmemb.index.hits import Array, Hits, RowFilter, Rows, merge_hits
from llmemb.index.item_index import ItemIndex
from llmemb.index.spec import MEASURED_K, IndexSpec

_AIM = 0.99
_MOST_STEPS = 64
_STEPS_OF_A_DOUBLING = 16
_ROWS_AT_ONCE = 65_536


def tuned(index: ItemIndex, vectors: Array, queries: Array) -> ItemIndex:
    """Return the index with the least effort that finds 99 % of the ten best, its recall stated in the spec.

    The effort of a search grows in sixteenths of a doubling, up to 16 times what it was; where 99 % is not reached, the
    greatest stays.

    Args:
        index: over `vectors`, searched with the least effort.
        vectors: `(N, D)`.
        queries: `(B, D)`, session vectors as the service makes them.
    """
    if index.spec.kind == "flat":
        return index
    exact = _exact_rows(vectors, queries)

    def recall(step: int) -> float:
        found = _best(index.with_spec(_with_effort(index.spec, step)), queries)
        hits = sum(np.isin(each.rows, best).sum() for each, best in zip(found, exact, strict=True))
        return round(float(hits / max(1, sum(map(len, exact)))), 4)

    step = bisect_left(range(_MOST_STEPS), _AIM, key=recall)
    stated = {"recall_at_10": recall(step), "recall_queries": len(queries)}
    return index.with_spec(_with_effort(index.spec, step).model_copy(update=stated))


def _exact_rows(vectors: Array, queries: Array) -> list[Rows]:
    """Return the ten best rows by part after part: an index over all would be a copy of all vectors."""
    best = [Hits.none()] * len(queries)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        found = _best(ItemIndex.build(vectors[start : start + _ROWS_AT_ONCE]), queries)
        best = [
            merge_hits([old, Hits(new.rows + start, new.scores)], MEASURED_K)
            for old, new in zip(best, found, strict=True)
        ]
    return [hits.rows for hits in best]


def _best(index: ItemIndex, queries: Array) -> list[Hits]:
    return index.search(queries, [MEASURED_K] * len(queries), [RowFilter()] * len(queries))


def _with_effort(spec: IndexSpec, step: int) -> IndexSpec:
    factor = 2 ** (step / _STEPS_OF_A_DOUBLING)
    if spec.hnsw is not None:
        hnsw = spec.hnsw.model_copy(update={"ef_search": round(factor * spec.hnsw.ef_search)})
        return spec.model_copy(update={"hnsw": hnsw})
    if spec.ivf is not None:
        probes = min(spec.ivf.cells, round(factor * spec.ivf.probes))
        return spec.model_copy(update={"ivf": spec.ivf.model_copy(update={"probes": probes})})
    return spec
