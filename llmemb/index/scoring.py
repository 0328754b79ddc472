"""Exact scores of some rows of a table, always by the same arithmetic.

A matrix product rounds an entry by where it stands and what else is in the batch; these scores depend on nothing but
the query and the row, so equal vectors get equal scores and tie. `B` queries, `N` rows, `D` width.
"""

from typing import Any

import numpy as np
import torch

from llmemb.index.hits import Array, Rows
from llmemb.index.library import faiss


def table_of(flat: Any) -> Array:
    """Return the vectors `(N, D)` in a FAISS flat index, without a copy; the index must outlive them."""
    if flat.ntotal == 0:
        return np.empty((0, flat.d), dtype=np.float32)
    table: Array = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return table


def score_rows(table: Array, query: Array, rows: Rows) -> Array:
    """Return the inner products `(n,)` of a query `(D,)` with n rows of a table.

    Args:
        table: `(N, D)`, contiguous.
        query: contiguous.
        rows: contiguous, each below N.
    """
    scores: Array = score_candidates(table, query[None], rows[None])[0]
    return scores


def score_candidates(table: Array, queries: Array, rows: Rows) -> Array:
    """Return the inner products `(B, n)` of each query with its own n rows of a table.

    Args:
        table: `(N, D)`, contiguous.
        queries: `(B, D)`, contiguous.
        rows: `(B, n)`, contiguous, each below N; -1 is no row, and its score is minus infinity.
    """
    scores = np.empty(rows.shape, dtype=np.float32)
    if rows.size:
        faiss.fvec_inner_products_by_idx(
            *map(faiss.swig_ptr, (scores, queries, table, rows)), table.shape[1], *rows.shape
        )
    return scores


def rough_products(queries: Array, table: Array) -> Array:
    """Return the inner products `(B, N)` of queries `(B, D)` with all rows, as a matrix product rounds them.

    It is torch's, which keeps to the threads that the caller's thread was given; NumPy's takes every core.
    """
    products: Array = (torch.from_numpy(queries) @ torch.from_numpy(table).T).numpy()
    return products


def best_of_each(scores: Array, k: int) -> tuple[Array, Rows]:
    """Return the k greatest of each row of `(B, N)`, descending, and where they stand; each `(B, k)`, k at most N."""
    best = torch.from_numpy(scores).topk(k)
    return best.values.numpy(), best.indices.numpy()
