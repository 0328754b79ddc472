"""An immutable index over the item vectors of one catalogue, by FAISS.

`B` queries, `N` items, `D` width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llmemb.errors import BundleCorruptError
from llmemb.index.approximate import HnswSearch, IvfSearch, build_hnsw, build_ivf, grow_hnsw
from llmemb.index.flat import FlatSearch, build_flat
from llmemb.index.hits import Array, Hits, RowFilter
from llmemb.index.library import faiss
from llmemb.index.spec import IndexSpec

_FAISS_CLASSES = {"flat": faiss.IndexFlatIP, "hnsw": faiss.IndexHNSWFlat, "ivf": faiss.IndexIVFFlat}


class ItemIndex:
    """The rows 0..N-1 of a table of item vectors; any number of threads may search it at once."""

    def __init__(self, index: Any, spec: IndexSpec) -> None:
        self._index = index
        self._spec = spec
        self._search: FlatSearch | HnswSearch | IvfSearch
        if spec.hnsw is not None:
            self._search = HnswSearch(index, spec.hnsw)
        elif spec.ivf is not None:
            self._search = IvfSearch(index, spec.ivf)
        else:
            self._search = FlatSearch(index)

    @classmethod
    def build(cls, vectors: Array, spec: IndexSpec | None = None) -> "ItemIndex":
        """Index `(N, D)` float32; the table is copied.

        The same vectors make the same index, byte for byte: it is built on one thread.

        Args:
            vectors: the rows of the index.
            spec: None is flat.
        """
        spec = spec or IndexSpec()
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        with _one_thread():
            if spec.hnsw is not None:
                return cls(build_hnsw(vectors, spec.hnsw), spec)
            if spec.ivf is not None:
                return cls(build_ivf(vectors, spec.ivf), spec)
            return cls(build_flat(vectors), spec)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of the indexed vectors, `D`."""
        return int(self._index.d)

    @property
    def spec(self) -> IndexSpec:
        """Kind, parameters and measured recall."""
        return self._spec

    def with_spec(self, spec: IndexSpec) -> "ItemIndex":
        """Return the same index searched with other parameters of its kind; both share their memory."""
        return ItemIndex(self._index, spec)

    def with_vectors(self, more: Array) -> "ItemIndex":
        """Return an index with `(n, D)` float32 appended as the rows N..N+n-1.

        This index stays as it is, and may be searched meanwhile. The new one is a copy of it: for a while both are in
        memory. An IVF index keeps its cells, an HNSW index links the new rows into the copied graph.
        """
        more = np.ascontiguousarray(more, dtype=np.float32)
        with _one_thread():
            if self._spec.kind == "hnsw":
                return ItemIndex(grow_hnsw(self._index, more), self._spec)
            index = faiss.clone_index(self._index)
            index.add(more)
        return ItemIndex(index, self._spec)

    def search(self, queries: Array, ks: Sequence[int], filters: Sequence[RowFilter]) -> list[Hits]:
        """Return the k best rows that pass, for each query: `min(k, rows that pass)` of them, always.

        A flat index is exact. The others find the share of the k best that `spec` states, whatever the filter. Equal
        scores come in the order of their rows, in HNSW and IVF among those that were found.

        Args:
            queries: `(B, D)` float32.
            ks: for each query, at least 1.
            filters: for each query.
        """
        return self._search.search(np.ascontiguousarray(queries, dtype=np.float32), ks, filters)

    def write(self, path: Path) -> None:
        """Write the index in FAISS's own format; the spec is not in it."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, spec: IndexSpec | None = None) -> "ItemIndex":
        """Read what `write` wrote.

        Args:
            path: the file.
            spec: of the index that was written; None is flat.

        Raises:
            BundleCorruptError: FAISS cannot read the file, or it holds an index of another kind.
        """
        spec = spec or IndexSpec()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise BundleCorruptError(f"{path.name}: FAISS cannot read it") from error
        if type(index) is not _FAISS_CLASSES[spec.kind]:
            raise BundleCorruptError(f"{path.name}: it is a {type(index).__name__}, no index of kind {spec.kind}")
        return cls(index, spec)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let FAISS use one thread in what this thread asks of it: several would link a graph in another order."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
