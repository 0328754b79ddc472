"""Measurement of an index's recall against an exact search, and tuning of its search effort."""

from bisect import bisect_left

import numpy as np

from llmemb.index.hits import Array, Hits, RowFilter, Rows, merge_hits
from llmemb.index.item_index import ItemIndex
from llmemb.index.spec import MEASURED_K, IndexSpec

_TARGET_RECALL = 0.99
_MAX_STEPS = 64
_STEPS_PER_DOUBLING = 16
_ROWS_AT_ONCE = 65_536


def tuned(index: ItemIndex, vectors: Array, queries: Array) -> ItemIndex:
    """Return the index with the least search effort that has a recall at 10 of 99 %; the spec states its recall.

    The effort increases in steps of 1/16 of a doubling, up to 16 times the initial effort; if no step gives 99 %, the
    maximum is used.

    Args:
        index: over `vectors`, with the minimum effort.
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

    step = bisect_left(range(_MAX_STEPS), _TARGET_RECALL, key=recall)
    stated = {"recall_at_10": recall(step), "recall_queries": len(queries)}
    return index.with_spec(_with_effort(index.spec, step).model_copy(update=stated))


def _exact_rows(vectors: Array, queries: Array) -> list[Rows]:
    """Return the ten best rows, searched part by part: an index over all vectors would copy all of them."""
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
    factor = 2 ** (step / _STEPS_PER_DOUBLING)
    if spec.hnsw is not None:
        hnsw = spec.hnsw.model_copy(update={"ef_search": round(factor * spec.hnsw.ef_search)})
        return spec.model_copy(update={"hnsw": hnsw})
    if spec.ivf is not None:
        probes = min(spec.ivf.cells, round(factor * spec.ivf.probes))
        return spec.model_copy(update={"ivf": spec.ivf.model_copy(update={"probes": probes})})
    return spec
