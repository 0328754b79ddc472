"""The index: the k items with the largest inner products with a session vector, among those that pass a filter."""

from llmemb.index.hits import NO_ROWS, Array, Hits, RowFilter, Rows, merge_hits, spread_rows
from llmemb.index.item_index import ItemIndex
from llmemb.index.recall import tuned
from llmemb.index.spec import HnswParameters, IndexKind, IndexSpec, IvfParameters, choose_spec

__all__ = [
    "NO_ROWS",
    "Array",
    "Hits",
    "HnswParameters",
    "IndexKind",
    "IndexSpec",
    "ItemIndex",
    "IvfParameters",
    "RowFilter",
    "Rows",
    "choose_spec",
    "merge_hits",
    "spread_rows",
    "tuned",
]
