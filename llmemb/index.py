"""The index: the k items whose embeddings have the greatest inner product with a session vector, by FAISS.

`B` queries, `N` items, `d` width.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from llmemb.errors import BundleCorruptError

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hits:
    """One query's answer, the best first: item rows `(k,)` int64 and scores `(k,)` float32."""

    rows: NDArray[np.int64]
    scores: Array


class ItemIndex:
    """An immutable exact index over the rows 0..N-1 of an embedding table."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, embeddings: Array) -> "ItemIndex":
        """Index `(N, d)` float32; the table is copied."""
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(np.ascontiguousarray(embeddings, dtype=np.float32))
        return cls(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of the indexed embeddings, `d`."""
        return int(self._index.d)

    def search(self, queries: Array, k: int, excluded: Sequence[Collection[int]]) -> list[Hits]:
        """Return the k best items that are not excluded, for each query.

        Equal scores come in the order of their rows. Where fewer than `k` items are left, all of them come.

        Args:
            queries: `(B, d)` float32.
            k: at least 1.
            excluded: rows that must not be returned, for each query.
        """
        if len(self) == 0:
            return [Hits(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)) for _ in excluded]
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        # The k best that pass stand among the k + |excluded| best: exact, and cheaper than a filter in FAISS.
        # One more is fetched: where it ties with the last kept, FAISS chose among equals, so we look further.
        reach = k + max(map(len, excluded), default=0) + 1
        while True:
            reach = min(reach, len(self))
            scores, rows = self._index.search(queries, reach)
            hits = [self._best(rows[i], scores[i], k, excluded[i]) for i in range(len(queries))]
            if reach == len(self) or all(hits[i].scores[-1] > scores[i, -1] for i in range(len(queries))):
                return hits
            reach *= 2

    @staticmethod
    def _best(rows: NDArray[np.int64], scores: Array, k: int, excluded: Collection[int]) -> Hits:
        if excluded:
            keep = ~np.isin(rows, np.fromiter(excluded, dtype=np.int64, count=len(excluded)))
            rows, scores = rows[keep], scores[keep]
        order = np.lexsort((rows, -scores))[:k]
        return Hits(rows[order], scores[order])

    def write(self, path: Path) -> None:
        """Write the index in FAISS's own format."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> "ItemIndex":
        """Read what `write` wrote.

        Raises:
            BundleCorruptError: FAISS cannot read the file.
        """
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise BundleCorruptError(f"{path.name}: FAISS cannot read it") from error


def merge_hits(parts: Sequence[Hits], k: int) -> Hits:
    """Merge answers of several indexes, their rows made distinct by the caller, into the k best."""
    rows = np.concatenate([part.rows for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((rows, -scores))[:k]
    return Hits(rows[order], scores[order])
