"""How much an index finds of what an exact search finds, and the effort it takes to find enough."""

import numpy as np

from llmemb.index.hits import Array
from llmemb.index.item_index import ItemIndex
from llmemb.index.row_filter import RowFilter
from llmemb.index.spec import MEASURED_K, IndexSpec

_AIM = 0.99
_DOUBLINGS = 4


def tuned(index: ItemIndex, vectors: Array, queries: Array) -> ItemIndex:
    """Return the index with the least effort that finds 99 % of the ten best, its recall stated in the spec.

    The effort of a search is doubled up to four times; where 99 % is not reached, the greatest effort stays.

    Args:
        index: over `vectors`, searched with the least effort.
        vectors: `(N, D)`.
        queries: `(B, D)`, session vectors as the service makes them.
    """
    if index.spec.kind == "flat":
        return index
    exact = _best_rows(ItemIndex.build(vectors), queries)
    for doubling in range(_DOUBLINGS + 1):
        candidate = index.with_spec(_with_effort(index.spec, 2**doubling))
        found = _best_rows(candidate, queries)
        hits = sum(np.isin(rows, best).sum() for rows, best in zip(found, exact, strict=True))
        recall = round(float(hits / max(1, sum(map(len, exact)))), 4)
        if recall >= _AIM:
            break
    return candidate.with_spec(
        candidate.spec.model_copy(update={"recall_at_10": recall, "recall_queries": len(queries)})
    )


def _best_rows(index: ItemIndex, queries: Array) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [hits.rows for hits in index.search(queries, [MEASURED_K] * len(queries), [RowFilter()] * len(queries))]


def _with_effort(spec: IndexSpec, factor: int) -> IndexSpec:
    if spec.hnsw is not None:
        hnsw = spec.hnsw.model_copy(update={"ef_search": factor * spec.hnsw.ef_search})
        return spec.model_copy(update={"hnsw": hnsw})
    if spec.ivf is not None:
        probes = min(spec.ivf.cells, factor * spec.ivf.probes)
        return spec.model_copy(update={"ivf": spec.ivf.model_copy(update={"probes": probes})})
    return spec
