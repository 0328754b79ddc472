"""A Milvus collection: item vectors by row, and the rows' categories at the time it was filled.

`n` rows, `D` width, `B` queries.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.search_result import SearchResult

from llmemb.index import Array, Hits, IndexSpec
from llmemb_service.catalogue.milvus.connection import ANSWER_SECONDS, MilvusConnection

PREFIX = "llmemb_"
FILL_SECONDS = 600.0
"""Timeout of one call that writes, indexes or loads."""
CHUNK_ROWS = 1000
MAX_FETCHED = 16_384
"""Maximum number of rows that Milvus returns for one query."""
MAX_CANDIDATES = 32_768
"""Milvus's maximum for `ef`, the candidates of an HNSW search."""
MAX_ROWS_PER_CALL = 2**18
"""Maximum number of rows that one call returns for all its queries."""
RENEW_INTERVAL_SECONDS = 3600.0
UNUSED_SECONDS = 7 * 24 * 3600.0
"""The next process that starts drops a collection that was not searched for this long."""

_USED, _ROWS, _MAX_NORM = "llmemb.used", "llmemb.rows", "llmemb.longest"


@dataclass(frozen=True, slots=True)
class Extent:
    """The content of a filled collection."""

    rows: int
    max_norm: float
    """Norm of the longest vector."""


class MilvusCollection:
    """One collection of Milvus.

    Args:
        connection: to Milvus.
        name: of the collection.
        spec: kind and parameters of the index; Milvus has the same kinds as FAISS.
    """

    def __init__(self, connection: MilvusConnection, name: str, spec: IndexSpec) -> None:
        self.name = name
        self.spec = spec
        self.is_exact = spec.kind == "flat"
        self.filled = 0
        """The end of the rows that are known to be written."""
        self._connection = connection
        self._renewed = time.monotonic()
        self._loaded_in = connection.num_reconnects

    def extent(self) -> Extent | None:
        """Load the collection and return its content; None if it does not exist or is incomplete."""
        return self._connection.call(self._extent)

    def _extent(self, client: MilvusClient) -> Extent | None:
        if not client.has_collection(self.name, timeout=ANSWER_SECONDS):
            return None
        properties = client.describe_collection(self.name, timeout=ANSWER_SECONDS)["properties"]
        if _ROWS not in properties:
            return None
        self._renew(client)
        client.load_collection(self.name, timeout=FILL_SECONDS)
        counted = client.query(self.name, filter="", output_fields=["count(*)"], timeout=FILL_SECONDS)
        extent = Extent(int(properties[_ROWS]), float(properties[_MAX_NORM]))
        return extent if counted[0]["count(*)"] == extent.rows else None

    def create(self, width: int, max_categories: int) -> None:
        """Create the empty collection unless it exists; several replicas may do so at the same time.

        Args:
            width: of the vectors, D.
            max_categories: maximum number of categories of one row.
        """
        self._connection.call(lambda client: self._create(client, width, max_categories))

    def _create(self, client: MilvusClient, width: int, max_categories: int) -> None:
        if client.has_collection(self.name, timeout=ANSWER_SECONDS):
            return
        self._connection.clear_half_created(self.name)
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        schema.add_field("categories", DataType.ARRAY, element_type=DataType.INT64, max_capacity=max(1, max_categories))
        with _unless(lambda: client.has_collection(self.name, timeout=ANSWER_SECONDS)):
            client.create_collection(
                self.name,
                schema=schema,
                consistency_level="Strong",
                properties={_USED: str(int(time.time()))},
                timeout=FILL_SECONDS,
            )

    def put(self, start: int, vectors: Array, categories: Sequence[Sequence[int]] | None = None) -> None:
        """Write the rows `start..start + n`. Existing rows are overwritten, since another replica may fill too.

        Args:
            start: the first row.
            vectors: `(n, D)`.
            categories: category numbers of each row; None stores no categories.
        """
        for first in range(0, len(vectors), CHUNK_ROWS):
            rows = [
                {
                    "row": start + place,
                    "vector": vectors[place],
                    "categories": [] if categories is None else categories[place],
                }
                for place in range(first, min(first + CHUNK_ROWS, len(vectors)))
            ]
            self._connection.call(
                partial(MilvusClient.upsert, collection_name=self.name, data=rows, timeout=FILL_SECONDS)
            )
        self.filled = start + len(vectors)

    def finish(self, extent: Extent) -> None:
        """Build the index and mark the collection as complete."""
        self._connection.call(lambda client: self._finish(client, extent))

    def _finish(self, client: MilvusClient, extent: Extent) -> None:
        client.flush(self.name, timeout=FILL_SECONDS)
        self._index(client)
        client.load_collection(self.name, timeout=FILL_SECONDS)
        properties = {_ROWS: str(extent.rows), _MAX_NORM: repr(extent.max_norm), _USED: str(int(time.time()))}
        client.alter_collection_properties(self.name, properties, timeout=ANSWER_SECONDS)

    def _index(self, client: MilvusClient) -> None:
        if client.list_indexes(self.name):
            return
        kind, parameters = "FLAT", {}
        if self.spec.hnsw is not None:
            kind = "HNSW"
            parameters = {"M": self.spec.hnsw.neighbours, "efConstruction": self.spec.hnsw.ef_construction}
        elif self.spec.ivf is not None:
            kind, parameters = "IVF_FLAT", {"nlist": self.spec.ivf.cells}
        index = client.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP", params=parameters)
        with _unless(lambda: bool(client.list_indexes(self.name))):
            client.create_index(self.name, index, timeout=FILL_SECONDS)

    def search(self, queries: Array, limit: int, num_candidates: int, expression: str) -> list[Hits]:
        """Return the best rows that match an expression, for each query, with Milvus's own scores.

        Args:
            queries: `(B, D)`.
            limit: number of rows, at most `MAX_FETCHED`.
            num_candidates: number of the best rows among which an approximate index searches.
            expression: see `filters.py`; empty matches every row.
        """
        step = max(1, MAX_ROWS_PER_CALL // limit)
        hits: list[Hits] = []
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            found = self._connection.call(
                partial(self._search, queries=part, limit=limit, num_candidates=num_candidates, expression=expression)
            )
            hits.extend(
                Hits(np.array(each.ids, dtype=np.int64), np.array(each.distances, dtype=np.float32)) for each in found
            )
        if time.monotonic() > self._renewed + RENEW_INTERVAL_SECONDS:
            self._connection.call(self._renew)
        return hits

    def _search(
        self, client: MilvusClient, queries: Array, limit: int, num_candidates: int, expression: str
    ) -> SearchResult:
        if self._loaded_in != self._connection.num_reconnects:
            # A restarted server may have unloaded the collection.
            client.load_collection(self.name, timeout=ANSWER_SECONDS)
            self._loaded_in = self._connection.num_reconnects
        return client.search(
            self.name,
            data=list(queries),
            filter=expression,
            limit=limit,
            anns_field="vector",
            search_params={"metric_type": "IP", "params": self._effort(num_candidates)},
            timeout=ANSWER_SECONDS,
        )

    def _effort(self, num_candidates: int) -> dict[str, int]:
        """Return the search parameters: at least the effort of FAISS for an index of the same kind."""
        if self.spec.hnsw is not None:
            return {"ef": min(MAX_CANDIDATES, self.spec.hnsw.ef_search + 4 * num_candidates)}
        if self.spec.ivf is not None:
            return {"nprobe": min(self.spec.ivf.cells, int(np.ceil(self.spec.ivf.probes * (1 + num_candidates / 64))))}
        return {}

    def _renew(self, client: MilvusClient) -> None:
        self._renewed = time.monotonic()
        client.alter_collection_properties(self.name, {_USED: str(int(time.time()))}, timeout=ANSWER_SECONDS)


@contextmanager
def _unless(is_there: Callable[[], bool]) -> Iterator[None]:
    """Ignore the failure to create something that another replica has created meanwhile."""
    try:
        yield
    except MilvusException:
        if not is_there():
            raise


def drop(connection: MilvusConnection, name: str) -> None:
    """Drop a collection if it exists."""
    connection.call(lambda client: client.drop_collection(name, timeout=FILL_SECONDS))


def drop_unused(connection: MilvusConnection) -> None:
    """Drop the collections that no replica has used for `UNUSED_SECONDS`."""
    connection.call(_drop_unused)


def _drop_unused(client: MilvusClient) -> None:
    for name in client.list_collections(timeout=ANSWER_SECONDS):
        if name.startswith(PREFIX):
            used = client.describe_collection(name, timeout=ANSWER_SECONDS)["properties"].get(_USED)
            if used is not None and time.time() - float(used) > UNUSED_SECONDS:
                client.drop_collection(name, timeout=FILL_SECONDS)
