"""A collection of Milvus: item vectors by row, and the categories that the rows had when it was filled.

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
from service.catalogue.milvus.connection import ANSWER_SECONDS, MilvusConnection

PREFIX = "llmemb_"
FILL_SECONDS = 600.0
"""How long one call may take that fills, indexes or loads."""
CHUNK_ROWS = 1000
MOST_FETCHED = 16_384
"""Rows that Milvus returns for a query, at most."""
MOST_CANDIDATES = 32_768
"""Candidates that Milvus keeps while it walks an HNSW graph, at most."""
FETCHED_TOGETHER = 2**18
"""Rows that one call returns for all its queries, at most."""
RENEW_SECONDS = 3600.0
UNUSED_SECONDS = 7 * 24 * 3600.0
"""A collection that nobody has searched for so long is dropped by whoever starts next."""

_USED, _ROWS, _LONGEST = "llmemb.used", "llmemb.rows", "llmemb.longest"


@dataclass(frozen=True, slots=True)
class Extent:
    """What a filled collection holds."""

    rows: int
    longest: float
    """Length of the longest vector."""


class MilvusCollection:
    """One collection, by its name.

    Args:
        connection: to Milvus.
        name: of the collection.
        spec: which index it has; FAISS's kinds are Milvus's too.
    """

    def __init__(self, connection: MilvusConnection, name: str, spec: IndexSpec) -> None:
        self.name = name
        self.spec = spec
        self.is_exact = spec.kind == "flat"
        self.filled = 0
        """The row after the last that is known to be here."""
        self._connection = connection
        self._renewed = time.monotonic()
        self._loaded_in = connection.times_lost

    def extent(self) -> Extent | None:
        """Load the collection and say what it holds; None where it is not there or was never filled to its end."""
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
        extent = Extent(int(properties[_ROWS]), float(properties[_LONGEST]))
        return extent if counted[0]["count(*)"] == extent.rows else None

    def create(self, width: int, most_categories: int) -> None:
        """Make the collection, without rows, unless it is there: several replicas may make it at once.

        Args:
            width: of the vectors, D.
            most_categories: of one row.
        """
        self._connection.call(lambda client: self._create(client, width, most_categories))

    def _create(self, client: MilvusClient, width: int, most_categories: int) -> None:
        if client.has_collection(self.name, timeout=ANSWER_SECONDS):
            return
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        schema.add_field(
            "categories", DataType.ARRAY, element_type=DataType.INT64, max_capacity=max(1, most_categories)
        )
        with _unless(lambda: client.has_collection(self.name, timeout=ANSWER_SECONDS)):
            client.create_collection(
                self.name,
                schema=schema,
                consistency_level="Strong",
                properties={_USED: str(int(time.time()))},
                timeout=FILL_SECONDS,
            )

    def put(self, start: int, vectors: Array, categories: Sequence[Sequence[int]] | None = None) -> None:
        """Write the rows `start..start + n`; those that are there are written again, as a replica beside may do.

        Args:
            start: the first row.
            vectors: `(n, D)`.
            categories: numbers, for each row; None where no categories are stored.
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
        """Index what was put and say that nothing is missing."""
        self._connection.call(lambda client: self._finish(client, extent))

    def _finish(self, client: MilvusClient, extent: Extent) -> None:
        client.flush(self.name, timeout=FILL_SECONDS)
        self._index(client)
        client.load_collection(self.name, timeout=FILL_SECONDS)
        properties = {_ROWS: str(extent.rows), _LONGEST: repr(extent.longest), _USED: str(int(time.time()))}
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

    def search(self, queries: Array, limit: int, reach: int, expression: str) -> list[Hits]:
        """Return the best rows that an expression lets through, for each query, with Milvus's own scores.

        Args:
            queries: `(B, D)`.
            limit: how many rows, at most `MOST_FETCHED`.
            reach: among so many of the best rows of all an approximate index looks for them.
            expression: see `milvus_filters.py`; empty lets all through.
        """
        step = max(1, FETCHED_TOGETHER // limit)
        hits: list[Hits] = []
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            found = self._connection.call(
                partial(self._search, queries=part, limit=limit, reach=reach, expression=expression)
            )
            hits.extend(
                Hits(np.array(each.ids, dtype=np.int64), np.array(each.distances, dtype=np.float32)) for each in found
            )
        if time.monotonic() > self._renewed + RENEW_SECONDS:
            self._connection.call(self._renew)
        return hits

    def _search(self, client: MilvusClient, queries: Array, limit: int, reach: int, expression: str) -> SearchResult:
        if self._loaded_in != self._connection.times_lost:
            # A server that was restarted may have unloaded it.
            client.load_collection(self.name, timeout=ANSWER_SECONDS)
            self._loaded_in = self._connection.times_lost
        return client.search(
            self.name,
            data=list(queries),
            filter=expression,
            limit=limit,
            anns_field="vector",
            search_params={"metric_type": "IP", "params": self._effort(reach)},
            timeout=ANSWER_SECONDS,
        )

    def _effort(self, reach: int) -> dict[str, int]:
        """Return how far a search looks: at least as far as FAISS does in an index of the same kind."""
        if self.spec.hnsw is not None:
            return {"ef": min(MOST_CANDIDATES, self.spec.hnsw.ef_search + 4 * reach)}
        if self.spec.ivf is not None:
            return {"nprobe": min(self.spec.ivf.cells, int(np.ceil(self.spec.ivf.probes * (1 + reach / 64))))}
        return {}

    def _renew(self, client: MilvusClient) -> None:
        self._renewed = time.monotonic()
        client.alter_collection_properties(self.name, {_USED: str(int(time.time()))}, timeout=ANSWER_SECONDS)


@contextmanager
def _unless(is_there: Callable[[], bool]) -> Iterator[None]:
    """Pass over a failure to make what another replica has made meanwhile."""
    try:
        yield
    except MilvusException:
        if not is_there():
            raise


def drop(connection: MilvusConnection, name: str) -> None:
    """Drop a collection, if it is there."""
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
